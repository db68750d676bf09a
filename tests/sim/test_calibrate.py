"""Parameters found again from measurements made with known ones; what is said of those that the
rows do not tell; values written into YAML and read back."""

import json
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds
from accel_models.read_design import parse_design, read_design
from accel_models.reader import parse_yaml
from kernels_ref.errors import UserError
from sim.calibrate import calibrate
from sim.calibrated.edit import edited
from sim.calibrated.fit import Problem, half_widths
from sim.calibrated.parameters import Parameter, _within, parameters, with_values, written
from sim.calibrated.write import write
from sim.cli.docs import ROOT
from sim.cli.main import app
from sim.measured.cases import Case, read_cases
from sim.measured.kinds import OPS
from sim.measured.split import FOLDS, JUDGED, fold_of
from sim.report.calibration import calibration_document
from sim.validate import judged

HEAD = "device,dtype,M,N,K,latency_us"
LIBRARY = ("cores", "sm", "kernels", "matmul")
SHAPES = [(m, n, k) for m in (1, 16, 300, 2048) for n in (1024, 6144) for k in (512, 2048, 8192)]
DAY = date(2026, 11, 22)


@pytest.fixture
def measure(tmp_path):
    """A CSV of what a design takes with other values of some parameters, times `noise`."""

    def made(design, values, shapes=SHAPES, noise=0.0, dtype="bf16"):
        path = tmp_path / "rows.csv"

        def put(micros):
            rows = (
                f"X,{dtype},{m},{n},{k},{us}" for (m, n, k), us in zip(shapes, micros, strict=True)
            )
            path.write_text("\n".join([HEAD, *rows]) + "\n")

        put([1.0] * len(shapes))
        machine = with_values(read_design(design), values)
        found = [row.predicted for row in judged(read_cases(path)[0], machine, OPS["gemm"])]
        factors = np.exp(np.random.default_rng(1).normal(0, noise, len(shapes)))
        put(1e6 * np.array(found) * factors)
        return path

    return made


def values_of(found):
    return {told.parameter.path: told.value for told in found.told}


TRUE = {
    (*LIBRARY, "launch"): 4.1e-6,
    (*LIBRARY, "step_latency"): 131e-9,
    (*LIBRARY, "dram"): 0.71,
}


def test_a_librarys_parameters_are_found_again(measure):
    names = ["*matmul.launch", "*matmul.step_latency", "*matmul.dram"]
    found = calibrate("h100_sxm", measure("h100_sxm", TRUE), params=names)
    assert values_of(found) == pytest.approx(TRUE, rel=0.02)
    assert found.overall.start_mape > 0.1
    assert found.overall.mape < 0.001
    assert found.overall.cv_mape < 0.001
    assert not found.warnings


def test_intervals_of_noisy_rows_hold_the_truth(measure):
    path = measure("h100_sxm", TRUE, noise=0.03)
    names = ["*matmul.launch", "*matmul.step_latency", "*matmul.dram"]
    found = calibrate("h100_sxm", path, params=names)
    for told in found.told:
        low, high = told.interval
        assert low < TRUE[told.parameter.path] < high
        assert (high - low) / 2 < 0.1 * told.value
    assert found.overall.mape < 0.03 < found.overall.start_mape
    assert found.overall.mape < found.overall.cv_mape < 0.04


NPU = str(ROOT / "docs" / "examples" / "my_npu.yaml")
SMALL = [(m, n, n) for m in (1, 64) for n in (256, 1024, 2048)]


def test_a_design_without_a_library_is_calibrated_in_the_same_way(measure):
    true = {("memory", "dram", "efficiency"): 0.62, ("cores", "array", "control", "launch"): 9e-6}
    path = measure(NPU, true, SMALL, dtype="int8_sq")
    found = calibrate(NPU, path, params=["memory.dram.*", "*.launch"])
    assert values_of(found) == pytest.approx(true, rel=0.02)


def test_by_itself_it_takes_what_the_rows_depend_on(measure):
    found = calibrate("h100_sxm", measure("h100_sxm", {}, SHAPES))
    names = {told.parameter.name for told in found.told}
    assert {"launch", "dram", "step_latency"} <= {name.rpartition(".")[2] for name in names}
    assert all(name.startswith("cores.sm.kernels.matmul.") for name in names)
    assert not any(".formats." in name for name in names)  # of fp8, which no row has
    assert found.overall.mape == pytest.approx(0, abs=1e-3)


def test_what_no_row_depends_on_is_said_or_refused(measure):
    path = measure("h100_sxm", {})
    found = calibrate("h100_sxm", path, params=["*.matmul.launch", "*.matmul.formats.fp8.launch"])
    (other,) = [told for told in found.told if told.parameter.path[-2] == "fp8"]
    assert other.value == other.parameter.value
    assert not other.identifiable
    assert other not in found.fitted
    assert found.warnings == (
        "cores.sm.kernels.matmul.formats.fp8.launch: none of the rows depends on it; it keeps its "
        "value",
    )
    with pytest.raises(UserError, match=r"depend on none of the parameters: .*fp8.launch$"):
        calibrate("h100_sxm", path, params=["*.matmul.formats.fp8.launch"])


def test_a_parameter_stops_at_its_bound(measure):
    path = measure("h100_sxm", {(*LIBRARY, "dram"): 0.25})
    (told,) = calibrate("h100_sxm", path, params=["*matmul.dram"]).told
    assert (told.value, told.at_bound, told.interval) == (0.4, "low", None)
    assert told.warning == "at its low bound, 0.4"


def problem(predict, values, rows, seed=3):
    free = [Parameter((name,), value, Fitted(0.1, 10.0)) for name, value in values.items()]
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, rows))
    measured = predict(np.array([p.value for p in free]), np.arange(rows)) * noise
    return Problem(free, measured, predict)


def test_the_interval_of_a_mean():
    """log predicted = log a: the interval of a is a times that of the mean of the residuals."""
    one = problem(lambda v, rows: v[0] * np.ones(len(rows)), {"a": 2.0}, 400)
    (width,) = half_widths(one, one.start, np.arange(400))
    residuals = one.residuals(one.start, np.arange(400))
    rms = np.sqrt((residuals**2).mean())
    assert width == pytest.approx(2.0 * 1.96 * rms / np.sqrt(400), rel=0.03)


def test_two_parameters_of_which_only_the_product_shows_are_not_identifiable():
    both = problem(lambda v, rows: v[0] * v[1] * (1.0 + rows), {"a": 2.0, "b": 3.0}, 50)
    widths = half_widths(both, both.start, np.arange(50))
    assert (widths > both.start).all()


def test_a_parameter_without_effect_has_no_end():
    idle = problem(lambda v, rows: v[0] * (1.0 + rows), {"a": 2.0, "b": 3.0}, 50)
    widths = half_widths(idle, idle.start, np.arange(50))
    assert widths[0] < 0.1
    assert np.isinf(widths[1])


class Inner(BaseModel):
    step: Annotated[Seconds, Fitted(1e-9, 1e-3)] | None = None
    other: Annotated[Seconds | None, Fitted(1e-9, 1e-3, "us")] = None
    plain: float = 1.0


class Outer(BaseModel):
    by_name: dict[str, Inner]
    listed: list[Inner]


def test_parameters_are_found_wherever_they_stand():
    block = Outer(
        by_name={"a": Inner(step="1 us"), "b": Inner()}, listed=[Inner(other="2 us", plain=3)]
    )
    found = {p.name: (p.value, p.unit) for p in _within(block, ())}
    assert found == {"by_name.a.step": (1e-6, "ns"), "listed.0.other": (2e-6, "us")}


def test_new_values_leave_the_old_design_alone():
    design = read_design("l40s")
    new = {p.path: p.fitted.high for p in parameters(design)}
    before = {p.path: p.value for p in parameters(design)}
    changed = with_values(design, new)
    assert {p.path: p.value for p in parameters(changed)} == new
    assert {p.path: p.value for p in parameters(design)} == before
    assert changed.source_of(("clock",)) == design.source_of(("clock",))


def test_folds_are_those_of_the_definition():
    values = {"device": "X", "dtype": "bf16", "M": "1", "N": "2", "K": "3", "latency_us": "4"}
    told = "|".join(["X", "bf16", "1", "2", "3"]).encode()
    expected = int.from_bytes(sha256(told).digest()[:8], "big") % 5
    columns = OPS["gemm"].columns
    assert fold_of(Case("a.csv", 2, values), columns) == expected
    again = values | {"latency_us": "9", "source": "another"}
    assert fold_of(Case("b.csv", 7, again), columns) == expected
    folds = [
        fold_of(Case("", 1, values | {"M": str(m), "N": str(n)}), columns)
        for m in range(40) for n in range(25)
    ]  # fmt: skip
    assert np.bincount(folds, minlength=FOLDS) == pytest.approx(200, rel=0.25)


def test_rows_that_are_left_out_are_judged_and_not_fitted(measure):
    path = measure("h100_sxm", {})
    lines = path.read_text().splitlines()
    cases, _ = read_cases(path)
    unseen = [c for c in cases if fold_of(c, OPS["gemm"].columns) == JUDGED]
    assert unseen
    for case in unseen:
        lines[case.line - 1] = lines[case.line - 1].rpartition(",")[0] + ",1e6"
    path.write_text("\n".join(lines) + "\n")
    found = calibrate("h100_sxm", path, params=["*matmul.launch"], leave_out=True).overall
    assert (found.mape, found.cv_mape) == pytest.approx((0, 0), abs=1e-3)
    assert found.unseen_mape > 0.9
    assert found.rows == len(cases)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.7449e-6, "us", "2.74 us"),
        (93.51e-9, "ns", "93.5 ns"),
        (1.2345e-6, "ns", "1230 ns"),
        (0.8881, "", "0.888"),
        (1.0, "", "1.0"),
        (0.0, "", "0.0"),
        (1.27e-12, "pJ", "1.27 pJ"),
    ],
)
def test_values_have_three_digits(value, unit, text):
    assert written(value, unit) == text


def test_a_new_design_reads_back(measure, tmp_path):
    found = calibrate("h100_sxm", measure("h100_sxm", TRUE), params=["*matmul.*"])
    out = tmp_path / "mine.yaml"
    assert write(found, out, DAY) == ()
    design = read_design(str(out))
    read = {p.path: p.value for p in parameters(design)}
    for told in found.fitted:
        assert read[told.parameter.path] == pytest.approx(told.value, rel=0.005, abs=1e-3)
    source = design.source_of((*LIBRARY, "launch"))
    assert source.kind == "calibrated"
    assert source.text.startswith("rows.csv (gemm, X), 2026-11-22, MAPE 0.")
    assert design.measured_as == read_design("h100_sxm").measured_as
    again = calibrate(str(out), tmp_path / "rows.csv", params=["*matmul.launch"])
    assert write(again, tmp_path / "next.yaml", DAY) == ()
    assert (tmp_path / "next.yaml").read_text().startswith("extends: mine.yaml\n")


GENERATION = """\
# a generation
cores:
  sm:
    kernels:
      matmul:
        launch: 2.74 us  # measured
        step_latency: 0.094 us
        l2: 1.0
        issue: 0.95
        source:
          default: "calibrated: old.csv, 2020-01-01"
          issue: "derived: by hand"  # why
        formats:
          fp8: {splits: [1], launch: 5.1 us, dram: 0.83}
    control: {launch: 2 us, dispatch: dynamic, source: "guess: so so"}
memory:
  hbm:
    efficiency: 0.9
    capacity: 80 GiB
    source: "datasheet: it says so"
"""


def fit_of(values):
    class One:
        def __init__(self, path, value):
            self.parameter, self.value = Parameter(path, value, Fitted(0, 1, "us")), value

    return [One(path, value) for path, value in values.items()]


def test_numbers_are_replaced_where_they_stand():
    new = {
        (*LIBRARY, "launch"): 3.333e-6,
        (*LIBRARY, "step_latency"): 80e-9,
        (*LIBRARY, "issue"): 0.9,
        (*LIBRARY, "formats", "fp8", "launch"): 6e-6,
        ("cores", "sm", "control", "launch"): 4e-6,
        ("memory", "hbm", "efficiency"): 0.8512,
    }
    changed = edited(GENERATION, fit_of(new), "calibrated: new.csv").splitlines()
    before = GENERATION.splitlines()
    assert [line for line in changed if line not in before] == [
        "        launch: 3.33 us  # measured",
        "        step_latency: 0.08 us",
        "        issue: 0.9",
        '          default: "calibrated: new.csv"',
        '          issue: "calibrated: new.csv"  # why',
        "          fp8: {splits: [1], launch: 6 us, dram: 0.83}",
        "    control: {launch: 4 us, dispatch: dynamic, "
        'source: {default: "guess: so so", launch: "calibrated: new.csv"}}',
        "    efficiency: 0.851",
        "    source:",
        '      default: "datasheet: it says so"',
        '      efficiency: "calibrated: new.csv"',
    ]
    again = edited("\n".join(changed) + "\n", fit_of(new), "calibrated: new.csv")
    assert again.splitlines() == changed


def test_a_block_without_a_source_gets_one():
    text = 'source: "guess: all"\na:\n  launch: 1 us # so\n  b: {dram: 0.5, l2: 1.0}\n'
    new = {("a", "launch"): 2e-6, ("a", "b", "dram"): 0.6}
    assert edited(text, fit_of(new), "calibrated: x") == (
        'source: "guess: all"\na:\n  launch: 2 us # so\n'
        '  source: {launch: "calibrated: x"}\n'
        '  b: {dram: 0.6, l2: 1.0, source: {dram: "calibrated: x"}}\n'
    )


def test_two_values_of_one_place_are_refused():
    text = 'source: "guess: x"\na: &one {launch: 1 us}\nb: *one\n'
    new = {("a", "launch"): 2e-6, ("b", "launch"): 3e-6}
    with pytest.raises(UserError, match="line 2: two values stand in one place"):
        edited(text, fit_of(new), "calibrated: x")


def with_cuda(folder: Path) -> None:
    """What generations extend, beside a copy of one."""
    shipped = ROOT / "designs" / "generation" / "cuda.yaml"
    (folder / "cuda.yaml").write_text(shipped.read_text())


def test_a_generations_file_is_edited_in_place(measure, tmp_path):
    folder = tmp_path / "generation"
    folder.mkdir()
    with_cuda(folder)
    generation = folder / "hopper.yaml"
    shipped = (ROOT / "designs" / "generation" / "hopper.yaml").read_text()
    generation.write_text(shipped)
    design = tmp_path / "gpu" / "mine.yaml"
    design.parent.mkdir()
    design.write_text((ROOT / "designs" / "gpu" / "h100_sxm.yaml").read_text())
    found = calibrate(str(design), measure("h100_sxm", TRUE), params=["*matmul.launch"])
    assert write(found, generation, DAY) == ()
    read = {p.path: p.value for p in parameters(read_design(str(design)))}
    assert read[(*LIBRARY, "launch")] == pytest.approx(
        values_of(found)[(*LIBRARY, "launch")], 0.005
    )
    changed = [
        line for line in generation.read_text().splitlines() if line not in shipped.splitlines()
    ]
    assert [line.split(":")[0].strip() for line in changed] == ["launch", "default"]
    other = calibrate("h100_sxm", tmp_path / "rows.csv", params=["*matmul.launch"])
    (warning,) = write(other, generation, DAY)
    assert "h100_sxm does not take cores.sm.kernels.matmul.launch from" in warning
    with pytest.raises(UserError, match=r"does not set cores.sm.kernels.matmul.launch; write to"):
        write(other, ROOT / "docs" / "examples" / "my_npu.yaml", DAY)


def test_the_command_says_it_in_json_and_as_yaml(measure, tmp_path):
    path = measure("h100_sxm", TRUE)
    words = ["calibrate", "h100_sxm", str(path), "--params", "*matmul.launch, *matmul.dram"]
    document = json.loads(CliRunner().invoke(app, [*words, "--json", "--leave-out"]).stdout)
    assert document["schema_version"] == 1
    assert (document["design"], document["op"], document["rows"]) == ("h100_sxm", "gemm", 24)
    assert {"mape", "cv_mape", "unseen_mape", "groups"} <= document.keys()
    assert document["groups"].keys() == {"bf16"}
    first = document["parameters"][0]
    assert first["name"] == "cores.sm.kernels.matmul.launch"
    assert first["path"] == [*LIBRARY, "launch"]
    assert first["low"] < first["interval"][0] < first["value"] < first["interval"][1]
    assert (first["at_bound"], first["identifiable"]) == (False, True)
    shown = CliRunner().invoke(app, [*words, "--date", "2026-11-22"]).stdout
    block = shown[shown.index("source:") :]
    text = f"extends: h100_sxm\n{block}"
    read = {p.path: p.value for p in parameters(parse_design(text))}
    assert read[(*LIBRARY, "launch")] == pytest.approx(first["value"], rel=0.05)


def test_a_document_says_nothing_of_what_no_row_tells(measure):
    path = measure("h100_sxm", {})
    found = calibrate("h100_sxm", path, params=["*.matmul.launch", "*.matmul.formats.fp8.launch"])
    document = calibration_document(found)
    assert document["parameters"][1]["interval"] is None
    assert document["parameters"][1]["identifiable"] is False
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--params", "*.lunch"], "--params '*.lunch': no parameter of the design; did you mean "),
        (["--device", "Y"], "has no device 'Y'"),
        (["--op", "attention"], "no column phase"),
        (["--out", "none/such.yaml"], "there is no folder none; create it first"),
        (["--out", "fit.json"], "fit.json: name a YAML file, fit.yaml"),
        (["--date", "today"], "--date 'today': write year, month and day, 2026-11-22"),
        ([], "2 rows for "),
    ],
)
def test_mistakes_say_what_would_be_right(words, says, measure):
    path = measure("h100_sxm", {}, SHAPES[3:5])
    done = CliRunner().invoke(app, ["calibrate", "h100_sxm", str(path), *words])
    assert done.exit_code == 1
    assert says in done.stderr


def test_rows_that_the_design_cannot_do_are_said(measure):
    path = measure("h100_sxm", {})
    path.write_text(path.read_text() + "X,fp64,64,1024,1024,5\n")
    found = calibrate("h100_sxm", path, params=["*.matmul.launch"])
    assert found.overall.rows == len(SHAPES)
    assert sum(found.unsupported.values()) == 1
    assert "1 row without a prediction: " in found.warnings[-1]
    assert "rows.csv:26: dtype: no dtype 'fp64'; did you mean" in found.warnings[-1]


@pytest.mark.parametrize(
    ("name", "generation"),
    [("a100_sxm", "ampere"), ("l40s", "ada"), ("h100_sxm", "hopper"), ("b200", "blackwell")],
)
def test_every_value_of_a_shipped_generation_can_be_replaced(name, generation, tmp_path):
    text = (ROOT / "designs" / "generation" / f"{generation}.yaml").read_text()
    document = parse_yaml(text, generation)
    design = read_design(name)
    new = {
        p.path: min(p.fitted.high, max(p.fitted.low, 1.05 * p.value))
        for p in parameters(design)
        if p.path in document.places
    }
    assert new
    (tmp_path / "generation").mkdir()
    with_cuda(tmp_path / "generation")
    changed = edited(text, fit_of(new), "calibrated: new.csv")
    (tmp_path / "generation" / f"{generation}.yaml").write_text(changed)
    (tmp_path / "gpu").mkdir()
    own = tmp_path / "gpu" / f"{name}.yaml"
    own.write_text((ROOT / "designs" / "gpu" / f"{name}.yaml").read_text())
    again = read_design(str(own))
    read = {p.path: p.value for p in parameters(again) if p.path in new}
    assert read == pytest.approx(new, rel=0.005)
    assert {again.source_of(path).text for path in new} == {"new.csv"}
    assert len(changed.splitlines()) == len(text.splitlines())
