"""Scales, ticks and shapes, and the figures they make."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.report.document import compose
from secateur.report.study import open_study
from secateur.report.svg.canvas import Canvas, shorten, text_width
from secateur.report.svg.heat import Cell, Heat
from secateur.report.svg.plot import Axis, Frame, Plot
from secateur.report.svg.scale import Linear, Log, density_ticks, nice_ticks, spread
from secateur.report.words import Words

SVG = "{http://www.w3.org/2000/svg}"


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(2, 9))
def test_ticks_are_few_round_and_inside(low, span, most):
    high = low + span
    ticks = nice_ticks(low, high, most)
    assert len(ticks) <= most + 1
    step = min(b - a for a, b in itertools.pairwise(ticks)) if len(ticks) > 1 else None
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)
    if step:
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


@given(st.lists(st.floats(0, 500), max_size=20), st.floats(1, 100))
def test_spread_labels_do_not_touch(places, gap):
    kept = spread(places, gap)
    assert all(abs(places[a] - places[b]) >= gap for a in kept for b in kept if a != b)
    if places:
        assert 0 in kept


def test_density_ticks_lead_with_decades():
    assert density_ticks(1.0, 0.001)[:4] == [1.0, 0.1, 0.01, 0.001]
    assert all(0.02 <= tick <= 0.5 for tick in density_ticks(0.5, 0.02))


def test_log_scale_runs_either_way():
    assert Log(1, 100, 0, 10)(10) == pytest.approx(5)
    assert Log(100, 1, 0, 10)(10) == pytest.approx(5)
    assert Log(1, 100, 0, 10).clamp(1e9) == pytest.approx(10)


@given(st.floats(1e-3, 1), st.sampled_from([Linear, Log]))
def test_scales_have_an_inverse(value, kind):
    scale = kind(1.0, 1e-3, 40, 700)
    assert scale.inverse(scale(value)) == pytest.approx(value)


@given(st.text(alphabet="abcdef.가나", max_size=40), st.floats(20, 200))
def test_shortened_text_fits(words, width):
    short = shorten(words, width)
    assert text_width(short) <= width or short == "…"
    assert short == words or "…" in short


def plot(low: float, high: float) -> Plot:
    frame = Frame(0, 0, 100, 100)
    return Plot(
        Canvas(100, 100), frame, Axis(Linear(0, 1, 0, 100), ()), Axis(Linear(low, high, 100, 0), ())
    )


def drawn(plot: Plot, tag: str) -> list[ET.Element]:
    return ET.fromstring(plot.canvas.svg("x", "t", "d")).findall(f"{SVG}{tag}")


def test_a_line_is_cut_at_the_lower_edge():
    chart = plot(0.5, 1.0)
    chart.line([(0.0, 0.75), (0.5, 0.25), (1.0, 0.75)], 0)
    first, second = [line.get("points") for line in drawn(chart, "polyline")]
    assert first == "0.0,50.0 25.0,100.0"
    assert second == "75.0,100.0 100.0,50.0"


def test_an_error_bar_is_cut_at_the_frame_without_cap():
    chart = plot(0.5, 1.0)
    before = len(drawn(chart, "line"))
    chart.bar(0.5, 0.25, 0.75, 0)
    bar, cap = drawn(chart, "line")[before:]
    assert (bar.get("y1"), bar.get("y2")) == ("100", "50")
    assert cap.get("y1") == cap.get("y2") == "50"


def test_points_outside_the_frame_are_not_drawn():
    chart = plot(0.5, 1.0)
    chart.marker(0.5, 0.4, 0, "tip")
    chart.dot(0.5, 0.4, 0)
    assert not drawn(chart, "path")
    assert not drawn(chart, "circle")


@pytest.mark.parametrize(("width", "numbers", "heads"), [(700, 25, 5), (70, 0, 3)])
def test_a_heat_map_writes_what_fits(width, numbers, heads):
    cells = [[Cell(0.5, "88.8")] * 5] * 5
    heat = Heat(["a"] * 5, ["10", "20", "30", "40", "50"], cells).draw(width)
    texts = [text.text for text in ET.fromstring(heat.svg("x", "t", "d")).findall(f"{SVG}text")]
    assert texts.count("88.8") == numbers
    assert sum(text in ("10", "20", "30", "40", "50") for text in texts) == heads


def test_a_lost_cell_is_crossed_out():
    heat = Heat(["a"], ["b"], [[Cell(None, "0", "gone")]]).draw(200)
    root = ET.fromstring(heat.svg("x", "t", "d"))
    assert [path.get("class") for path in root.findall(f"{SVG}path")] == ["lost"]


def test_text_is_escaped_and_stays_text():
    canvas = Canvas(10, 10)
    canvas.text(0, 0, "<script> & 가지")
    text = ET.fromstring(canvas.svg("x", "a < b", "d")).find(f"{SVG}text")
    assert text is not None
    assert text.text == "<script> & 가지"


def test_every_point_of_every_method_is_in_the_curves(study, document):
    figure = next(figure for figure in document.figures() if figure.id == "curves")
    drawn = ET.fromstring(figure.wide)
    tips = [path.find(f"{SVG}title").text for path in drawn.findall(f"{SVG}path")]
    for series in study.series:
        told = [tip for tip in tips if tip.startswith(series.label)]
        assert len(told) == len(series.curve)
        for point, tip in zip(series.curve, told, strict=True):
            assert f"{100 * point.accuracy.mean:.2f} ±" in tip


def test_places_on_the_curve_follow_accuracy_and_density(document):
    figure = next(figure for figure in document.figures() if figure.id == "curves")
    lines = ET.fromstring(figure.wide).findall(f"{SVG}polyline")
    for line in lines:
        places = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        assert [x for x, _ in places] == sorted(x for x, _ in places)
    lowest = max(lines, key=lambda line: float(line.get("points").split(",")[-1]))
    assert lowest.get("class") == "s5"  # GraSP loses most


def test_methods_are_drawn_apart_where_there_are_bars(tmp_path):
    def places(seeds: tuple[int, ...]) -> set[str]:
        root = tmp_path / str(len(seeds))
        pair = [fake.Fake(m, m, 0.1, 0.0, (0.5, 0.1)) for m in ("snip", "grasp")]
        fake.study(root, (fake.METHODS[0], *pair), seeds=seeds, analyses=False)
        figure = compose(open_study(root), Words("en")).figures()[0]
        lines = ET.fromstring(figure.wide).findall(f"{SVG}polyline")
        return {line.get("points").split(",")[0] for line in lines}

    assert len(places((1,))) == 1
    first, second = sorted(map(float, places((1, 2))))
    assert second - first == pytest.approx(3)


def test_figures_have_a_name_and_a_description(document):
    for figure in document.figures():
        for svg in (figure.wide, figure.narrow):
            root = ET.fromstring(svg)
            ids = root.get("aria-labelledby").split()
            assert [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")] == ids
            assert root.find(f"{SVG}title").text == figure.title
            assert root.find(f"{SVG}desc").text == figure.alt


def test_a_wide_range_gets_an_enlarged_panel(tmp_path):
    poor = fake.Fake("random", "Random", 0.9, 0.1, (0.5, 0.02))
    fake.study(tmp_path, (*fake.METHODS[:3], poor), seeds=(1,), analyses=False)
    document = compose(open_study(tmp_path), Words("en"))
    figure = next(figure for figure in document.figures() if figure.id == "curves")
    assert "enlarges" in figure.caption
    assert figure.wide.count("Test accuracy (%)") == 2


def test_a_network_without_weights_has_no_place_on_the_axis(tmp_path):
    gone = fake.Fake("synflow", "SynFlow", 0.5, 0.0, (0.5, 1e-9))
    fake.study(tmp_path, (fake.METHODS[0], gone), seeds=(1,), analyses=False)
    document = compose(open_study(tmp_path), Words("en"))
    figure = next(figure for figure in document.figures() if figure.id == "curves")
    assert figure.wide.count("SynFlow ·") == 1
    assert any("Layers collapsed: SynFlow" in text for text in document.warnings)


def test_dense_alone_has_no_curve(tmp_path):
    fake.study(tmp_path, fake.METHODS[:1], seeds=(1,), analyses=False)
    document = compose(open_study(tmp_path), Words("en"))
    assert document.figures() == []
    assert len(document.missing) == 8


def test_layer_densities_are_means_over_seeds(study, document):
    figure = next(figure for figure in document.figures() if figure.id == "layers")
    assert [row.cells[0] for row in figure.table.rows] == [
        n.removesuffix(".weight") for n in fake.LAYERS
    ]
    snip = next(series for series in study.series if series.label == "SNIP")
    column = [head.startswith("SNIP") for _, head in figure.legend].index(True)
    point = min(snip.pruned, key=lambda p: abs(p.sparsity.mean - 0.898))
    density = sum(p.layers["conv1.weight"] for p in point.points.values()) / 3
    assert float(figure.table.rows[0].cells[1 + column]) == pytest.approx(100 * density, rel=0.005)
