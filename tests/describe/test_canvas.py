from normlab.describe.canvas import Canvas, CanvasColumn, half_width


def test_lines_that_meet_make_the_right_corner_or_tee():
    canvas = Canvas()
    canvas.across(1, 0, 4)
    canvas.down(0, 0, 2)
    canvas.down(4, 1, 2)
    canvas.down(2, 0, 1)
    assert canvas.lines() == ["│ │", "├─┴─┐", "│   │"]
    canvas.down(2, 1, 2)
    assert canvas.lines()[1] == "├─┼─┐"


def test_a_box_stands_on_its_line_with_space_around_the_longest_text():
    canvas = Canvas()
    column = CanvasColumn(canvas, half_width(["N_in"]), 0)
    column.box(["N_in", "x"])
    column.step()
    assert (
        canvas.lines() == ["", "┌───┴───┐", "│ N_in  │", "│   x   │", "└───┬───┘", "    │"][1:]
        or canvas.lines()
    )
    assert canvas.lines()[1:] == ["┌───┴───┐", "│ N_in  │", "│   x   │", "└───┬───┘", "    │"]


def test_text_stands_over_lines():
    canvas = Canvas()
    canvas.down(1, 0, 2)
    canvas.write(1, 1, "abc")
    assert canvas.lines() == [" │", "abc", " │"]
