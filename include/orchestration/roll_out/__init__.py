"""stream__roll_out: a new generation of the stream beside the current one, compared, swapped in or dropped.

- `form`: the trigger form and what it asks for, checked
- `topic`: offsets of a time and times of offsets, from Kafka
- `start`: where the new generation begins to read, and from when on its readings count
- `tables`: the tables of `realtime` once more in another schema, and moving them under the views
- `generations`: the generations that there are; beginning and dropping one
- `swap`: putting another one in the current one's place, and back
- `comparison`, `report`: the row difference between two generations, and its text for a person
- `files`: checkpoints and landing files that nobody needs any more
- `tasks`: what the DAG's tasks do with Airflow's connections
"""
