"""The scorecard: every branch and boundary of the verdict, and the two files."""

from __future__ import annotations

import csv
from html.parser import HTMLParser

import pytest

from pipeline.errors import PipelineError
from pipeline.scorecard import decide, scorecard_rows, write_csv, write_html


def row(kind="about", measured=None, **changes):
    paper = {
        "value": {"value": 680, "spread": 10},
        "about": {"value": 800},
        "range": {"low": 30, "high": 40},
        "claim": {"side": "below", "threshold": 0.02},
    }.get(kind, {})
    base = {"id": "some_claim", "kind": kind, "quantity": "q", "figure": "1b"} | paper | changes
    if measured is None:
        return base | {"measurement": None}
    whole = {
        "value": 0.0,
        "spread": 1.0,
        "n": 8,
        "interval": None,
        "substituted": False,
        "note": "",
    }
    return base | {"measurement": whole | measured}


@pytest.mark.parametrize(
    ("kind", "changes", "measured", "verdict"),
    [
        # |ours - paper| <= 2 sqrt(s_p^2 + s_o^2)
        ("value", {}, {"value": 680, "spread": 0.0}, "agrees"),
        ("value", {}, {"value": 700, "spread": 0.0}, "agrees"),
        ("value", {}, {"value": 660, "spread": 0.0}, "agrees"),
        ("value", {}, {"value": 700.01, "spread": 0.0}, "differs"),
        ("value", {}, {"value": 659.99, "spread": 0.0}, "differs"),
        ("value", {"spread": 3}, {"value": 690, "spread": 4.0}, "agrees"),
        ("value", {"spread": 3}, {"value": 690.1, "spread": 4.0}, "differs"),
        ("value", {"spread": 0}, {"value": 680, "spread": 0.0}, "agrees"),
        # about x: within 10 %
        ("about", {}, {"value": 880}, "agrees"),
        ("about", {}, {"value": 720}, "agrees"),
        ("about", {}, {"value": 880.1}, "differs"),
        ("about", {}, {"value": 719.9}, "differs"),
        ("about", {"value": 0.85}, {"value": 0.935}, "agrees"),
        ("about", {"value": -10}, {"value": -10.9}, "agrees"),
        ("about", {"value": -10}, {"value": 10}, "differs"),
        # range: our mean inside
        ("range", {}, {"value": 30}, "agrees"),
        ("range", {}, {"value": 40}, "agrees"),
        ("range", {}, {"value": 29.99}, "differs"),
        ("range", {}, {"value": 40.01}, "differs"),
        # claim: the interval wholly on the claimed side
        ("claim", {}, {"interval": (0.0, 0.019)}, "agrees"),
        ("claim", {}, {"interval": (0.0, 0.02)}, "differs"),
        ("claim", {}, {"interval": (0.01, 0.03)}, "differs"),
        ("claim", {}, {"interval": (0.03, 0.04)}, "differs"),
        ("claim", {"side": "above"}, {"interval": (0.03, 0.04)}, "agrees"),
        ("claim", {"side": "above"}, {"interval": (0.02, 0.04)}, "differs"),
        ("claim", {"side": "above"}, {"interval": (0.0, 0.01)}, "differs"),
        # few networks or substituted data: indicative, whether it agrees or not
        ("about", {}, {"value": 800, "n": 2}, "indicative"),
        ("about", {}, {"value": 1, "n": 2}, "indicative"),
        ("about", {}, {"value": 800, "n": 3}, "agrees"),
        ("value", {}, {"value": 680, "n": 1, "spread": None}, "indicative"),
        ("claim", {}, {"n": 1, "interval": None}, "indicative"),
        ("range", {}, {"value": 35, "substituted": True}, "indicative"),
        ("range", {}, {"value": 0, "substituted": True}, "indicative"),
        ("value", {}, None, "not run at this scale"),
        ("claim", {}, None, "not run at this scale"),
    ],
)
def test_verdict(kind, changes, measured, verdict):
    found, rule = decide(row(kind, measured, **changes))
    assert found == verdict
    assert rule


def test_rule_says_what_was_applied():
    def rule(*args, **kwargs):
        return decide(row(*args, **kwargs))[1]

    assert "2 sqrt(s_p² + s_o²) = 20" in rule("value", {"value": 690, "spread": 0.0})
    assert "|ours - paper| = 10" in rule("value", {"value": 690, "spread": 0.0})
    assert "10 % of the paper's = 80" in rule("about", {"value": 1})
    assert "within 30 to 40" in rule("range", {"value": 1})
    assert "wholly below 0.02" in rule("claim", {"interval": (0, 1)})
    assert rule("about", {"value": 1, "n": 2}).startswith("n < 3")
    assert rule("about", {"value": 1, "substituted": True}).startswith("substituted data")


@pytest.mark.parametrize(
    ("kind", "changes", "measured", "words"),
    [
        ("about", {}, {"value": float("nan")}, "some_claim, the measured value is nan"),
        ("about", {}, {"value": float("inf"), "substituted": True}, "measured value is inf"),
        ("about", {}, {"value": None}, "measured value is None"),
        ("about", {"value": None}, {"value": 1.0}, "the paper's value is None"),
        ("value", {}, {"spread": None}, "measured spread is None"),
        ("value", {}, {"spread": float("nan"), "n": 1}, "measured spread is nan"),
        ("claim", {}, {"interval": None}, "no 95 % interval"),
        ("claim", {}, {"interval": (0.0, float("nan"))}, "end of the interval is nan"),
        ("claim", {"side": "left"}, {"interval": (0.0, 1.0)}, "side 'left'; valid are above"),
        ("guess", {}, {"value": 1.0}, "kind 'guess'; valid are value, about, range and claim"),
    ],
)
def test_faults(kind, changes, measured, words):
    with pytest.raises(PipelineError, match=words):
        decide(row(kind, measured, **changes))


def contents():
    measured = {"value": 731.25, "spread": 11.0, "interval": (720.0, 742.5), "note": "<b> & |co|"}
    claims = [
        row("about", measured, unit="samples", section='Results, "<Class>"'),
        row("claim", {"value": 0.5, "interval": (0.4, 0.6)}, unit="1", id="other"),
        row("range", None, unit="epochs", id="absent"),
    ]
    return [{"paper": "stragglers", "scale": "laptop", "claims": claims}]


def test_csv_holds_every_row(tmp_path):
    path = tmp_path / "new" / "scorecard.csv"
    write_csv(scorecard_rows(contents()), path)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first, second, third = rows
    assert first["ours"] == "731.2"
    assert (first["paper_value"], first["n"], first["verdict"]) == ("about 800", "8", "agrees")
    assert (first["interval_low"], first["interval_high"]) == ("720", "742.5")
    assert (first["scale"], first["paper"]) == ("laptop", "stragglers")
    assert (second["paper_value"], second["verdict"]) == ("below 0.02", "differs")
    assert (third["paper_value"], third["ours"], third["n"]) == ("30 to 40", "", "0")
    assert third["verdict"] == "not run at this scale"
    before = path.read_bytes()
    write_csv(scorecard_rows(contents()), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


class Cells(HTMLParser):
    """Text of all cells; any tag that is not ours is listed."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags, self.inside = [], set(), False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")
        self.inside = tag == "td"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_html_is_escaped_and_self_contained(tmp_path):
    path = tmp_path / "scorecard.html"
    write_html(scorecard_rows(contents()), path)
    text = path.read_text(encoding="utf-8")
    parser = Cells()
    parser.feed(text)
    assert not {"b", "script", "img", "link"} & parser.tags
    assert "<b> & |co|" in parser.cells
    assert "731.2 ± 11 samples (95 %: 720 to 742.5)" in parser.cells
    assert {"✓ agrees", "✗ differs"} <= set(parser.cells)
    assert "http" not in text
    assert "@" not in text
    assert "1 agrees, 1 differs, 1 not run at this scale" in text
