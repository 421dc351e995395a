"""A wrong configuration is refused in sentences that name file, key, value and valid values."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CONFIG_FILE, build_config, load_config, read_paper
from pipeline.config_files import command_line_values, parse_yaml, read_yaml, typed
from pipeline.config_schema import load_schemas
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAPER_FILE = "config/stragglers.yaml"
LINE = "command line (--config/--configfile)"
BASE = read_yaml(ROOT, CONFIG_FILE)
SCHEMAS = load_schemas(ROOT, ["config", *BASE["papers"]])
FILES = {CONFIG_FILE: BASE}
for paper in BASE["papers"]:
    FILES |= read_paper(ROOT, paper)


def run(**changes):
    return {"stragglers": {"runs": {"main": changes}}}


def refused(over) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(copy.deepcopy(FILES), SCHEMAS, command_line_values(over))
    message = str(caught.value)
    for line in message.splitlines():
        assert line.endswith(".")
        assert " = " in line or " is missing; " in line
    return message


# (command line, parts of the message beside the file: key = value, and the valid values)
WRONG = [
    ({"scale": "tiny"}, 'scale = "tiny"', "one of smoke, laptop, paper"),
    (
        {"stragglers": {"analyses": {"stability": {"minutes": 1e308}}}},
        "analyses.stability.minutes = 1e+308",
        "at most 1000000",
    ),
    ({"scale": "papr"}, 'scale = "papr"', "did you mean 'paper'"),
    ({"threads": 2}, "threads = 2", "did you mean 'compute.threads'"),
    ({"stragler": {}}, "stragler = {}", "did you mean 'stragglers'"),
    ({"seed": -1}, "seed = -1", "a whole number (at least 0"),
    ({"seed": 1.5}, "seed = 1.5", "a whole number"),
    ({"seed": True}, "seed = true", "a whole number"),
    ({"compute": {"thread": 1}}, "compute.thread = 1", "did you mean 'threads'"),
    ({"compute": {"threads": "two"}}, 'compute.threads = "two"', "at least 1"),
    ({"compute": {"device": "gpu"}}, 'compute.device = "gpu"', "one of auto, cpu, cuda"),
    ({"compute": {"compile": 1}}, "compute.compile = 1", "one of auto, true, false"),
    ({"compute": {"state_seconds": float("nan")}}, "compute.state_seconds = NaN", "finite"),
    ({"compute": {"state_seconds": ".inf"}}, "compute.state_seconds = Infinity", "finite"),
    ({"compute": None}, "compute = null", "a mapping"),
    ({"data": {"sources": ["web"]}}, 'data.sources[0] = "web"', "folder, mirror, registry"),
    ({"data": {"sources": []}}, "data.sources = []", "at least 1"),
    ({"data": {"sources": ["folder", "folder"]}}, "data.sources = ", "no repeats"),
    ({"datasets": {"Mine": {}}}, "datasets.Mine = {}", "[a-z]"),
    ({"datasets": {"mine": {}}}, "datasets.mine.loader is missing", "package.module:function"),
    ({"networks": {"mine": {"builder": "nothing"}}}, "networks.mine.builder", "module:function"),
    ({"papers": ["../other"]}, 'papers[0] = "../other"', "small letters"),
    (run(sedes=8), "stragglers.runs.main.sedes = 8", "did you mean 'seeds'"),
    (run(seeds=0), "stragglers.runs.main.seeds = 0", "at least 1"),
    (run(seeds=8.0), "stragglers.runs.main.seeds = 8.0", "a whole number"),
    (run(epochs=0), "stragglers.runs.main.epochs = 0", "at least 1"),
    (run(learning_rate=0), "stragglers.runs.main.learning_rate = 0", "above 0"),
    (run(learning_rate="fast"), 'learning_rate = "fast"', "a finite number"),
    (run(learning_rate=10**400), "learning_rate = 1000", "a finite number"),
    (run(momentum=1), "stragglers.runs.main.momentum = 1", "below 1"),
    (run(activation="tahn"), 'activation = "tahn"', "did you mean 'tanh'"),
    (run(labels="true"), "labels = true", "one of parity, random"),
    (run(dataset="minst"), 'dataset = "minst"', "valid is cifar10, cifar100, fashion_mnist"),
    (
        run(network="vgg16"),
        'network = "vgg16" is made for the trainer',
        "convolutional, fully_connected",
    ),
    (run(optimizer="adam_minibatch"), 'optimizer = "adam_minibatch" is', "valid is adam, gd, sgd"),
    (run(dataset="spheres"), 'dataset = "spheres" holds vectors', "valid is cifar10"),
    (run(network="cnn"), 'network = "cnn"', "valid is convolutional, fully_connected"),
    (run(optimizer="adamw"), 'optimizer = "adamw"', "valid is adam, gd, sgd"),
    (run(block=7), "stragglers.runs.main.block = 7", "valid is 0 to 6"),
    (run(samples=60001), "stragglers.runs.main.samples = 60001", "valid is 2 to 60000"),
    (run(stored_seeds=101), "stored_seeds = 101", "valid is 1 to 100"),
    (run(layers=[2]), "stragglers.runs.main.layers = [2]", "valid is 1"),
    (run(layers=[4], depth=4), "layers = [4]", "valid is 1 to 3"),
    (run(layers=[0]), "stragglers.runs.main.layers[0] = 0", "at least 1"),
    (run(layers=[]), "stragglers.runs.main.layers = []", "at least 1"),
    (run(batch_size=32), "batch_size = 32", "valid is null"),
    (run(optimizer="sgd"), "batch_size = null", "valid is 1 to 8192"),
    (run(optimizer="sgd", batch_size=9000), "batch_size = 9000", "valid is 1 to 8192"),
    (run(optimizer="adam", momentum=0.5), "momentum = 0.5", "valid is 0"),
    (run(init="normal"), "init_variance = null", "a number above 0"),
    (run(init_variance=0.1), "init_variance = 0.1", "valid is null"),
    (run(grey="sum_after"), 'grey = "sum_after"', "valid is mean"),
    (run(checkpoints={"schedule": "list"}), "checkpoints.epochs = null", "a list of epochs"),
    (
        run(checkpoints={"schedule": "list", "epochs": [501]}),
        "checkpoints.epochs = [501]",
        "valid is 0 to 500",
    ),
    (run(checkpoints={"epochs": [5]}), "checkpoints.epochs = [5]", "schedule list"),
    (run(checkpoints={"count": None}), "checkpoints.count = null", "at least 2"),
    (run(grid={"blok": [1]}), "stragglers.runs.main.grid.blok = [1]", "did you mean 'block'"),
    (run(grid={"block": [7]}), "stragglers.runs.main.grid.block = 7", "valid is 0 to 6"),
    (run(grid={"block": [1]}, block=1), "stragglers.runs.main.block = 1", "keep one of them"),
    ({"stragglers": {"defaults": {"grid": {"block": [1]}}}}, "defaults.grid", "only a run"),
    ({"stragglers": {"runs": {"mian": {"seeds": 3}}}}, "runs.mian", "did you mean 'main'"),
    ({"stragglers": {"runs": {"Main": {}}}}, "stragglers.runs.Main = {}", "[a-z]"),
    ({"stragglers": {"scales": {"paper": {}}}}, "stragglers.scales", "set the keys themselves"),
    ({"stragglers": {"figures": {"1a": {"runs": ["mian"]}}}}, "runs[0]", "did you mean 'main'"),
    ({"stragglers": {"figures": {"9": {}}}}, "figures.9.function is missing", "file.py:function"),
    (
        {"stragglers": {"claims": {"straggler_count": {"figure": "1z"}}}},
        'claims.straggler_count.figure = "1z"',
        "valid is 1a, 1b",
    ),
    (
        {"stragglers": {"claims": {"straggler_count": {"low": 1}}}},
        "claims.straggler_count.low = 1",
        "kind about needs value",
    ),
    (
        {"stragglers": {"claims": {"straggler_count": {"kind": "range"}}}},
        "claims.straggler_count.low = null is missing",
        "kind range needs high, low",
    ),
    (
        {"stragglers": {"claims": {"inversion_epoch": {"low": 50}}}},
        "claims.inversion_epoch.low = 50 is above high = 40",
        "smaller",
    ),
]


@pytest.mark.parametrize(("over", "key", "valid"), WRONG, ids=[row[1][:40] for row in WRONG])
def test_command_line_problem(over, key, valid):
    message = refused(over)
    assert key in message
    assert valid in message
    assert LINE in message


def test_problem_in_a_file_names_the_file_and_the_key_there(tmp_path):
    changes = [
        (CONFIG_FILE, "device: auto", "device: gpu", f'{CONFIG_FILE}: compute.device = "gpu"'),
        (PAPER_FILE, "depth: 2", "deth: 2", f"{PAPER_FILE}: stragglers.defaults.deth = 2"),
        (PAPER_FILE, "depth: 2", "", f"{PAPER_FILE}: stragglers.defaults.depth is missing"),
        (
            PAPER_FILE,
            "main: { seeds: 100 }",
            "main: { seeds: x }",
            f'{PAPER_FILE}: stragglers.scales.laptop.runs.main.seeds = "x"',
        ),
        (
            PAPER_FILE,
            "main: { seeds: 6 }",
            "main: { sedes: 6 }",
            f"{PAPER_FILE}: stragglers.scales.smoke.runs.main.sedes = 6",  # not the chosen scale
        ),
    ]
    for file, old, new, expected in changes:
        text = (ROOT / file).read_text()
        assert old in text
        root = copy_of_root(tmp_path)
        (root / file).write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigError) as caught:
            load_config(root)
        assert expected in str(caught.value)


def copy_of_root(folder: Path) -> Path:
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(ROOT / "config", root / "config")
    shutil.copytree(ROOT / "workflow/schemas", root / "workflow/schemas")
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scale: [laptop", "line 1 is not valid YAML"),
        ("a: 1\nb:\n\t- 2", "line 3 is not valid YAML"),
        ("seed: 1\nscale: smoke\nseed: 2", "seed is given twice, in lines 1 and 3"),
        ("compute:\n  threads: 1\n  threads: 2", "compute.threads is given twice"),
        ("a: &x [1]\nb: *x", "through an alias"),
        ("a: &x [*x]", "through an alias"),
        ("seed: !!python/object:os.system 1", "leave tags out"),
        ("[1, 2]: 3", "is no text"),
        ("", "is empty"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
        ("[" * 1500, "nested too deeply"),
    ],
)
def test_unreadable_yaml_is_one_sentence(tmp_path, text, expected):
    root = copy_of_root(tmp_path)
    (root / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(root)
    message = str(caught.value)
    assert message.startswith(CONFIG_FILE)
    assert expected in message
    assert "\n" not in message


def test_missing_or_undecodable_file(tmp_path):
    root = copy_of_root(tmp_path)
    (root / PAPER_FILE).unlink()
    with pytest.raises(ConfigError, match=r"papers = .* needs the file config/stragglers.yaml"):
        load_config(root)
    (root / CONFIG_FILE).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"config/config.yaml cannot be read as UTF-8"):
        load_config(root)
    (root / CONFIG_FILE).unlink()
    with pytest.raises(ConfigError, match=r"config/config.yaml does not exist"):
        load_config(root)


def test_paper_file_with_another_top_key(tmp_path):
    root = copy_of_root(tmp_path)
    (root / PAPER_FILE).write_text("runs: {}")
    with pytest.raises(ConfigError, match="only top key must be 'stragglers', but it has runs"):
        load_config(root)


def test_the_command_line_is_named_when_it_makes_a_value_of_the_file_impossible():
    message = refused(run(seeds=1))
    assert f"{PAPER_FILE}: stragglers.defaults.stored_seeds = 2" in message
    assert f"stragglers.runs.main.seeds comes from the {LINE}" in message


def test_all_problems_are_reported_at_once_and_each_once():
    over = {"scale": "tiny", "seed": -1, **run(sedes=1)}
    assert len(refused(over).splitlines()) == 3
    message = refused({"stragglers": {"defaults": {"checkpoints": {"epochs": [5]}}}})
    assert len(message.splitlines()) == 1
    runs = build_config(copy.deepcopy(FILES), SCHEMAS, {})["stragglers"]["runs"]
    assert f"run main, blocks_0, blocks_1 and {len(runs) - 3} more" in message


def test_command_line_values_that_are_no_mapping_or_contain_themselves():
    with pytest.raises(ConfigError, match="is no mapping"):
        load_config(ROOT, [1])
    endless = {}
    endless["more"] = endless
    with pytest.raises(ConfigError, match="compute is nested too deeply"):
        load_config(ROOT, {"compute": endless})


def test_two_runs_of_one_name():
    entries = {"runs": {"twin": {"grid": {"block": [0]}}, "twin_0": {}}}
    figure = {"figures": {"1a": {"runs": ["twin", "twin_0"]}}}
    assert "gives a second run the name 'twin_0'" in refused({"stragglers": entries | figure})


def test_a_scale_may_not_name_a_run_that_the_file_lacks():
    files = copy.deepcopy(FILES)
    files[PAPER_FILE]["stragglers"]["scales"]["smoke"]["runs"]["mian"] = {"seeds": 3}
    with pytest.raises(ConfigError, match=r"scales\.smoke\.runs\.mian .*did you mean 'main'"):
        build_config(files, SCHEMAS, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-1_000", -1000),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("~", None),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("0x1F", "0x1F"),
        ("1a", "1a"),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_scalars_have_one_meaning(text, value):
    assert (typed(text), type(typed(text))) == (value, type(value))
    assert parse_yaml(f"key: {text}", "test") == {"key": value}
    assert parse_yaml(f"key: '{text}'", "test") == {"key": text}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_closed_and_describe_every_key(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    nodes = list(schema_nodes(SCHEMAS[name]))
    assert len(nodes) > 15
    for where, node in nodes:
        assert node.get("description", "").strip(), f"{where} has no description"
        if node.get("type") == "object":
            is_open = where.endswith("options")
            assert node["additionalProperties"] is is_open, where


def schema_nodes(schema, where=""):
    for keyword in ("properties", "patternProperties", "$defs"):
        for key, child in schema.get(keyword, {}).items():
            yield f"{where}/{key}", child
            yield from schema_nodes(child, f"{where}/{key}")


def paths(tree, path=()):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*path, key)
            yield from paths(value, (*path, key))


PATHS = [(file, path) for file, tree in FILES.items() for path in paths(tree)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@settings(max_examples=40, deadline=None)
@given(
    target=st.sampled_from(PATHS),
    action=st.sampled_from(["delete", "rename", "change"]),
    name=st.text(min_size=1, max_size=8),
    value=VALUES,
    scale=st.sampled_from(["paper", "laptop", "smoke"]),
)
def test_a_mutated_configuration_is_valid_or_refused_by_name(target, action, name, value, scale):
    file, path = target
    files = copy.deepcopy(FILES)
    parent = files[file]
    for part in path[:-1]:
        parent = parent[part]
    old = parent.pop(path[-1])
    if action == "rename":
        parent[name] = old
    elif action == "change":
        parent[path[-1]] = value
    config, message = outcome(files, scale)
    if config is None:
        # The key itself or the entry that it is of, what its new name is in place of it, or a key of the
        # grid that is gone.
        inner = old if path[-1] == "grid" and isinstance(old, dict) else ()
        named = [*path[-2:], *inner, *([name] if action == "rename" else [])]
        assert any(part in message for part in named)
    else:
        assert config["scale"] == scale


def outcome(files, scale):
    """(configuration, "") or (None, the refusal); any other exception goes on."""
    try:
        return build_config(files, SCHEMAS, {"scale": scale}), ""
    except ConfigError as error:
        return None, str(error)


GRID = {"stragglers": {"runs": {"deep_4": {"grid": {"block": [0, 1]}}}}}


@pytest.mark.parametrize("over", [{}, {"scale": "smoke"}, GRID])
def test_building_changes_none_of_its_arguments(over):
    files, schemas = copy.deepcopy(FILES), copy.deepcopy(SCHEMAS)
    before = copy.deepcopy(over)
    config = build_config(files, schemas, over)
    config["stragglers"]["runs"]["random_labels"]["checkpoints"]["count"] = -1
    config["stragglers"]["runs"]["random_labels"]["layers"].append(-1)
    assert (files, schemas, over) == (FILES, SCHEMAS, before)
    assert config["stragglers"]["runs"]["adam_0001"]["checkpoints"]["count"] > 0
