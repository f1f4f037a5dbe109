# The whole study: every step is one notebook, run by papermill. README.md shows how to use it.
#
#   snakemake                                          the demo
#   snakemake --config preset=esc10 data_dir=/data/ESC-50 fold=2 seed=1
#   snakemake --config preset=demo folds=[1,2,3] seeds=[0,1]
#   snakemake runs                                     everything but the book
#
# A step runs again when what it depends on has changed: the code of its notebook or of a module it uses, a
# parameter, the recordings, the codec or an earlier step. Touching a notebook or saving its outputs is no change.

import os
import sys

sys.path.insert(0, os.path.join(workflow.basedir, "src"))

from snakemake.exceptions import WorkflowError

from envsound import studies, systems
from envsound.base.errors import InputError
from envsound.data import finding
from envsound.run import identity, pipeline

STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
PUBLISHED = "data/published/published_study.csv"
RUN = "data/runs/{preset}/fold{fold}_seed{seed}"

try:
    REQUEST = pipeline.read_request(config)
    CODE = {step: identity.code_hash(f"notebooks/{step}.ipynb") for step in STEPS}
    PAGES = [f"envsound.studies.{study}.page" for study in studies.study_names()]
    BOOK_CODE = identity.module_hash("envsound.book.__main__", *PAGES)
    finding.check_recordings(pipeline.values_of(REQUEST.preset, REQUEST.overrides), REQUEST.folds)
except InputError as error:
    raise WorkflowError(str(error)) from None


def values(run):
    """Return the parameters of the preset in a job's wildcards."""
    return pipeline.values_of(run.preset, REQUEST.overrides)


def given(step):
    """Return a function of a job's wildcards: the parameters of one step's notebook."""
    return lambda run: pipeline.papermill_parameters(
        f"notebooks/{step}.ipynb", run.preset, run.fold, run.seed, REQUEST.overrides
    )


def system(*methods):
    """Return a function of a job's wildcards: a hash of what some methods of the preset's system depend on."""
    return lambda run: identity.methods_hash(systems.SYSTEMS.get(values(run)["system"], values(run)["system"]), methods)


# The executed notebook is a log, not an output, so that it is still there when one of its cells has failed.
PAPERMILL = (
    "OMP_NUM_THREADS={threads} {sys.executable:q} -m papermill {input.notebook:q} {log:q} -k python3 --cwd . "
    "--progress-bar --log-output -y {params.given:q} || "
    "{{ echo 'Step {rule} failed; the error is the last output of this notebook: {log}' >&2; exit 1; }}"
)


wildcard_constraints:
    preset=r"[^/]+",
    fold=r"\d+",
    seed=r"\d+",


localrules:
    all,
    runs,
    book,


rule all:
    input:
        "book/_build/html/index.html",


# Papermill writes a notebook cell by cell, so that it says nothing of the step's end; of the others' end later steps ask.
rule runs:
    input:
        expand("{run}/notebooks/{step}.ipynb", run=REQUEST.run_dirs(), step=STEPS),
        expand("{run}/figures/.done", run=REQUEST.run_dirs()),


rule encode_clips:
    input:
        lambda run: finding.recordings_table(values(run)),
        notebook=ancient("notebooks/01_encode_clips.ipynb"),
    output:
        RUN + "/data_report.csv",
        RUN + "/codes.csv",
    log:
        RUN + "/notebooks/01_encode_clips.ipynb",
    params:
        given=given("01_encode_clips"),
        code=CODE["01_encode_clips"],
        system=system("codec", "prepare"),
        recordings=lambda run: finding.recordings_fingerprint(values(run)),
        codec=lambda run: pipeline.codec_fingerprint(values(run)),
    threads: 8
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=120,  # minutes
    shell:
        PAPERMILL


# What training leaves in checkpoints/ is the system's own affair, and no output: Snakemake removes outputs before a job,
# and training goes on from there.
rule train_model:
    input:
        RUN + "/codes.csv",
        notebook=ancient("notebooks/02_train_model.ipynb"),
    output:
        RUN + "/training.csv",
    log:
        RUN + "/notebooks/02_train_model.ipynb",
    params:
        given=given("02_train_model"),
        code=CODE["02_train_model"],
        system=system("train"),
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=1440,  # minutes
    shell:
        PAPERMILL


rule sample_clips:
    input:
        RUN + "/codes.csv",
        RUN + "/training.csv",
        notebook=ancient("notebooks/03_sample_clips.ipynb"),
    output:
        RUN + "/samples.csv",
    log:
        RUN + "/notebooks/03_sample_clips.ipynb",
    params:
        given=given("03_sample_clips"),
        code=CODE["03_sample_clips"],
        system=system("load"),
    threads: 8
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=120,  # minutes
    shell:
        PAPERMILL


rule compute_metrics:
    input:
        RUN + "/codes.csv",
        RUN + "/samples.csv",
        PUBLISHED,
        notebook=ancient("notebooks/04_metrics.ipynb"),
    output:
        RUN + "/metrics.csv",
        RUN + "/pairs.csv",
        RUN + "/table_metrics.csv",
    log:
        RUN + "/notebooks/04_metrics.ipynb",
    params:
        given=given("04_metrics"),
        code=CODE["04_metrics"],
    threads: 4
    resources:
        mem_mb=8000,
        runtime=60,  # minutes
    shell:
        PAPERMILL


rule ks_tests:
    input:
        RUN + "/metrics.csv",
        PUBLISHED,
        notebook=ancient("notebooks/05_ks_tests.ipynb"),
    output:
        RUN + "/ks.csv",
    log:
        RUN + "/notebooks/05_ks_tests.ipynb",
    params:
        given=given("05_ks_tests"),
        code=CODE["05_ks_tests"],
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,  # minutes
    shell:
        PAPERMILL


rule draw_figures:
    input:
        RUN + "/training.csv",
        RUN + "/metrics.csv",
        RUN + "/pairs.csv",
        RUN + "/ks.csv",
        notebook=ancient("notebooks/06_figures.ipynb"),
    output:
        touch(RUN + "/figures/.done"),
    log:
        RUN + "/notebooks/06_figures.ipynb",
    params:
        given=given("06_figures"),
        code=CODE["06_figures"],
    threads: 2
    resources:
        mem_mb=8000,
        runtime=60,  # minutes
    shell:
        PAPERMILL


rule book:
    input:
        rules.runs.input,
        sources=pipeline.book_sources(),
    output:
        "book/_build/html/index.html",
    params:
        runs=REQUEST.run_dirs(),
        beside=REQUEST.finished_bases(),
        code=BOOK_CODE,
    shell:
        "{sys.executable:q} -m envsound.book --runs {params.runs:q} --beside {params.beside:q}"
