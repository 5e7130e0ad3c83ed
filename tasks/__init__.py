"""What to do: task functions and chains, by domain. Imported as `nornir_stack.tasks`."""

if __name__ == "tasks":
    msg = "import nornir_stack.tasks: as a top-level `tasks` every class in it would exist twice"
    raise ImportError(msg)
