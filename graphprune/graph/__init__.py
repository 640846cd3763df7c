"""Reading a torch.fx graph: values, schemas, aliases, trees; one node run again."""
