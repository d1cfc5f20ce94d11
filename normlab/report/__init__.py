"""`normlab report`: runs become one HTML file that opens anywhere and asks no network for anything.

`runs` reads them, one `Card` each; `metrics` and `heat` turn their rows into arrays, `pack` squeezes those
and `contents` chooses among them; `question` and `answer` say in words what was asked and what came out;
`render` fills in `page.html`; `write` is the command. In a browser `page.css` and the files of `js/` take
over, with uPlot for the curves.
"""
