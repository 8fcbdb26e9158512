"""What runs a network on one window: OpenVINO or torch, in which arithmetic."""
