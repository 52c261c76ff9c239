"""Processes that outlive the agent: transient systemd units, or a supervisor in the local cloud."""
