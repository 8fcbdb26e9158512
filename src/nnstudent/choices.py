"""The values that an option accepts, one tuple per option. Imports nothing.

The packages check against these tuples and the command offers them, so that the two cannot differ
and ``--help`` stays quick.
"""

ENGINES = ("auto", "openvino", "torch")
TRAINING_DEVICES = ("auto", "cpu", "cuda")
DEVICES = (*TRAINING_DEVICES, "gpu", "npu")  # the last two are OpenVINO's names of Intel's
PRECISIONS = ("auto", "fp32", "bf16", "int8")
WINDOWS = ("guided", "dense", "flare22")
RULES = ("sides", "largest", "small", "tumor")  # of post-processing, in the order they are applied
DEFAULT_RULES = ("largest", "small")  # the rules that help, as bench/postprocess.py measures
FORMATS = ("nifti", "dicom-seg", "dicom-sr", "rtstruct", "seg.nrrd", "nrrd", "mha")
MESHES = ("stl", "glb")
DICOM_OBJECTS = ("seg", "rtstruct")  # of relabel
PROTOCOLS = ("strict", "flare23")
CASES_OF_A_COHORT = ("auto", "test", "train", "all")
CONFLICTS = ("first", "last", "agree")  # of relabel, where label maps differ
TARGETS = ("organs", "tumor", "all")  # of teach
DECISIONS = ("dice", "argmax")  # how a voxel of a pseudo-label gets its class
EXECUTORS = ("local", "slurm", "kubernetes", "snakefile")  # of the jobs of a run
MODEL_ACTIONS = ("add", "list", "remove")
STRATEGIES = (  # of qc --next and of the service
    "quality",
    "uncertainty",
    "diversity",
    "random-foreground",
    "random",
)
REPORT_FORMATS = ("html", "md", "latex")
SHELLS = ("bash", "zsh", "fish")
