"""Where tasks run. An engine takes tasks and a function, and yields each task with its result or its crash."""
