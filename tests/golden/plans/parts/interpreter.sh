#!/surely/no/interpreter -x
