import Pack
