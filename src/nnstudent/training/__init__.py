"""Recipes, plans and the trainer: the only room that imports nnunetv2."""
