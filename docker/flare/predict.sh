#!/bin/sh
# The challenge's entry point: inputs/NAME_0000.nii.gz becomes outputs/NAME.nii.gz.
# The variables make it possible to run it elsewhere.
set -eu
exec nnstudent segment "${INPUTS:-/workspace/inputs}" -o "${OUTPUTS:-/workspace/outputs}" --model "${MODEL:-/workspace/bundle}"
