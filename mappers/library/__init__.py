"""What a machine's library takes: closed forms over arrays of cases, the definition of its cost."""
