"""`normlab report`: runs become one HTML file that opens anywhere and asks no network for anything.

`runs` reads them, one `Card` each; `curves` and `heat` turn their rows into arrays, `pack` squeezes those; `answer`
says in words what came out; `render` fills in `page.html`; `write` is the command. In a browser `page.css` and
the files of `js/` take over, with uPlot for the curves.
"""
