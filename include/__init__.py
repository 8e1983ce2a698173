"""Everything the DAGs call: contract, jobs, operators, models. `dags/` only wires it together."""
