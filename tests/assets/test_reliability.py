"""The reliability picture: a colour a class, named; axes that say what they are."""

import xml.etree.ElementTree as ET

from assets import plots

SVG = "{http://www.w3.org/2000/svg}"
DOTS = {
    "bearish": [(0.25, 0.5, 10), (0.75, 0.75, 40)],
    "neutral": [(0.5, 0.0, 40)],
    "bullish": [(0.0, 1.0, 5)],
}


def drawn() -> ET.Element:
    return ET.fromstring(plots.reliability(DOTS, title="a < b"))  # noqa: S314 - our own text


def test_every_class_has_a_colour_of_its_own_and_a_line_in_the_legend() -> None:
    circles = drawn().findall(f".//{SVG}circle")
    dots: dict[str, int] = {}
    for circle in circles:
        colour = str(circle.get("fill"))
        dots[colour] = dots.get(colour, 0) + 1
    # a dot a bin, and the legend's
    assert dots == {plots.DOWN: 3, plots.FLAT: 2, plots.UP: 2}
    words = {text.text: text for text in drawn().iter(f"{SVG}text")}
    for name, colour in (("bearish", plots.DOWN), ("neutral", plots.FLAT), ("bullish", plots.UP)):
        y = float(str(words[name].get("y")))
        assert [c.get("fill") for c in circles if abs(float(str(c.get("cy"))) + 4 - y) < 1] == [
            colour
        ]


def test_a_dot_lies_where_the_axes_say() -> None:
    root = drawn()
    words = [(text.text, text) for text in root.iter(f"{SVG}text")]
    assert {"predicted probability", "observed frequency", "a < b"} <= {text for text, _ in words}

    def place(text: ET.Element, axis: str) -> float:
        return float(str(text.get(axis)))

    for tick, p, o in (("0", 0.0, 0.0), ("0.5", 0.5, 0.5), ("1", 1.0, 1.0)):
        below, beside = [text for name, text in words if name == tick]
        frame = root.find(f".//{SVG}g/{SVG}rect")
        assert frame is not None
        left, top, side = (float(str(frame.get(k))) for k in ("x", "y", "width"))
        assert place(below, "x") == left + side * p
        assert place(beside, "y") - 4 == top + side * (1 - o)
    largest = root.findall(f".//{SVG}circle")[1]  # bearish, said 0.75, came 0.75
    assert float(str(largest.get("cx"))) == left + 0.75 * side
    assert float(str(largest.get("cy"))) == top + 0.25 * side
    assert float(str(largest.get("r"))) == 10.0
