"""Engines that run a network on one window, with OpenVINO or torch, and their precision."""
