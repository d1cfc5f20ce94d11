"""How a placement behaves with depth before any training: `normlab probe`.

`settings` says what is measured on what, `quantities` measures one model, `statistics` fits slopes over
depths and seeds, `session` goes through a plan, `files` and `page` show what came out.
"""
