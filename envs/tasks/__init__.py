"""The kit's commands: thin tasks over the functions of `envs`. Heavy modules are imported inside the tasks."""
