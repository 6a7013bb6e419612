"""What is drawn of a pipeline, and where."""

import itertools
from xml.etree import ElementTree as ET

import pytest

from penstock.figure import figure_of, leaves
from penstock.layers import place, ranks_of
from penstock.spec import Group, Loop, ParameterBinding, PipelineSpec, Returns, StepSpec, Task, TypeKind, TypeSpec
from penstock.svg import Look, fitting, picture, text_width

STEP = StepSpec(id="m:f", returns=Returns(kind="none"))


def call(id_, *after):
    return Task(id=id_, step="m:f", after=after)


def pipeline(*body):
    return PipelineSpec(name="p", steps=(STEP,), body=body)


def chain(count):
    return [call(f"step_{number}", *([f"step_{number - 1}"] if number else [])) for number in range(count)]


def fan(count):
    middle = [call(f"train_{number}", "load") for number in range(count)]
    return [call("load"), *middle, call("select", *(each.id for each in middle))]


def overlapping(sizes, corners):
    def meets(one, other):
        return all(
            corners[one][axis] < corners[other][axis] + sizes[other][axis]
            and corners[other][axis] < corners[one][axis] + sizes[one][axis]
            for axis in (0, 1)
        )

    return [pair for pair in itertools.combinations(sizes, 2) if meets(*pair)]


def test_a_box_stands_after_all_that_lead_to_it_and_over_no_other():
    pairs = [(f"b{number}", f"b{number * 7 % 31 + number + 1}") for number in range(1, 40)]
    boxes = list(dict.fromkeys(box for pair in pairs for box in pair))
    sizes = {box: (40.0 + len(box), 100.0) for box in boxes}
    placed = place(sizes, pairs)
    ranks = ranks_of(boxes, pairs)
    assert all(ranks[one] < ranks[other] for one, other in pairs)
    assert all(placed.corners[one][0] + sizes[one][0] < placed.corners[other][0] for one, other in pairs)
    assert overlapping(sizes, placed.corners) == []
    assert placed == place(sizes, pairs)


def test_a_circle_of_pairs_is_placed_all_the_same():
    placed = place(dict.fromkeys("abc", (10.0, 10.0)), [("a", "b"), ("b", "c"), ("c", "a")])
    assert placed.corners["a"][0] < placed.corners["b"][0] < placed.corners["c"][0]


def test_arrows_that_need_not_cross_do_not():
    pairs = [("a", "z"), ("b", "y"), ("c", "x")]
    placed = place(dict.fromkeys("abcxyz", (10.0, 10.0)), pairs)
    assert all(placed.corners[one][1] == pytest.approx(placed.corners[other][1]) for one, other in pairs)


@pytest.mark.parametrize("body", [chain(1000), fan(1000), [each for n in range(300) for each in (call(f"t{n}"),)]])
def test_a_large_graph_is_drawn_with_few_shapes_that_stand_for_all_nodes(body):
    figure = figure_of(pipeline(*body))
    assert len(list(leaves(figure.shapes))) <= 100
    assert sorted(node for shape in figure.shapes for node in shape.nodes) == sorted(each.id for each in body)


def test_a_bundle_keeps_what_leads_to_it_and_from_it():
    figure = figure_of(pipeline(*fan(200)))
    assert [(shape.kind, shape.label, len(shape.nodes)) for shape in figure.shapes] == [
        ("task", "load", 1),
        ("bundle", "train", 200),
        ("task", "select", 1),
    ]
    assert [(each.source, each.target) for each in figure.arrows] == [("load", "train_0"), ("train_0", "select")]


def test_many_boxes_of_one_kind_are_drawn_as_one_with_what_they_hold():
    names = ("load", "clean", "join", "train", "score")
    groups = [
        Group(id=f"part_{n}", pipeline="m:p", body=tuple(call(f"part_{n}.{name}") for name in names)) for n in range(40)
    ]
    few, many = figure_of(pipeline(*groups[:3])), figure_of(pipeline(*groups))
    assert [len(shape.inside) for shape in few.shapes] == [5, 5, 5]
    (box,) = many.shapes
    assert (box.label, len(box.nodes)) == ("part (40 times)", 40 * 6)
    assert [(shape.label, len(shape.nodes)) for shape in box.inside] == [(name, 40) for name in names]


def test_boxes_that_hold_different_things_are_closed_where_there_is_too_much_to_see():
    groups = [
        Group(id=f"part_{n}", pipeline="m:p", body=tuple(call(f"part_{n}.{n}_{m}") for m in range(9)))
        for n in range(30)
    ]
    figure = figure_of(pipeline(*groups))
    assert len(list(leaves(figure.shapes))) <= 100
    assert sum(len(shape.nodes) for shape in figure.shapes) == 300


def test_an_arrow_into_a_box_ends_at_the_box():
    group = Group(id="g", pipeline="m:p", body=(call("g.a", "first"), call("g.b", "g.a")))
    figure = figure_of(pipeline(call("first"), group, call("last", "g.b")))
    assert [(each.source, each.target) for each in figure.arrows] == [("first", "g"), ("g.a", "g.b"), ("g", "last")]


def test_a_picture_is_xml_that_refers_to_nothing_and_shows_what_an_author_wrote_as_text():
    items = ParameterBinding(name="xs")
    item = TypeSpec(kind=TypeKind.INT, text="int")
    loop = Loop(id="for", items=items, item=item, text='xs["</svg><script>"]', body=(call("train"),))
    drawn = picture(
        figure_of(pipeline(loop, *chain(3))), lambda shape: Look("failed", "1 s", 'a "title" \x1b[0m', "#n1")
    )
    root = ET.fromstring(drawn)
    assert "<script>" not in drawn
    assert {each.get("href") for each in root.iter() if each.get("href")} == {"#n1"}
    assert {each.get("data-id") for each in root.iter() if each.get("data-id")} == {
        "for",
        "train",
        "step_0",
        "step_1",
        "step_2",
    }


def test_a_label_that_is_too_wide_loses_its_middle():
    shown = fitting("a_rather_long_name_of_a_step_that_nobody_reads_to_its_end", 120)
    assert shown.startswith("a_rather")
    assert shown.endswith("end")
    assert text_width(shown) <= 120
    assert text_width("漢字") > text_width("ab")
