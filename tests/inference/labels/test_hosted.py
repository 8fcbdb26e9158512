"""Lesions as a part of their host."""

from __future__ import annotations

import numpy as np

from nnstudent.inference.labels.hosted import as_hosts, give_lesions_to_hosts

LIVER, SPLEEN, TUMOR = 1, 3, 14


def test_each_lesion_becomes_what_surrounds_it() -> None:
    labels = np.zeros((6, 20, 40), np.int16)
    labels[:, 2:18, 2:18] = LIVER
    labels[:, 2:18, 22:38] = SPLEEN
    expected = labels.copy()
    labels[2:4, 6:9, 6:9] = TUMOR
    labels[2:4, 6:9, 28:31] = TUMOR
    np.testing.assert_array_equal(as_hosts(labels, [TUMOR]), expected)


def test_a_lesion_in_the_background_becomes_background_beside_padding_too() -> None:
    labels = np.full((4, 8, 8), -1, np.int16)
    labels[1, 2, 2] = TUMOR
    assert as_hosts(labels, [TUMOR])[1, 2, 2] == 0


def test_lesions_are_given_to_their_hosts_in_place() -> None:
    labels = np.zeros((6, 20, 40), np.uint8)
    labels[:, 2:18, 2:18] = LIVER
    expected = labels.copy()
    labels[2:4, 6:9, 6:9] = TUMOR
    labels[5, 0, 39] = TUMOR
    give_lesions_to_hosts(labels, [TUMOR])
    np.testing.assert_array_equal(labels, expected)
    give_lesions_to_hosts(labels, [TUMOR])
    np.testing.assert_array_equal(labels, expected)
