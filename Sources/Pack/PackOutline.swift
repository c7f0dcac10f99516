import Storage

extension UnnamedPack {
  /// The tables and embedded files of a pack that is only planned, with holes where its weights would be: enough to find out everything
  /// that does not depend on numbers. Takes next to no room.
  ///
  /// - Parameter directory: where the file is that never gets a name.
  /// - Throws: ``PackError/system(_:)``.
  package init(outlining plan: PackPlan, in directory: String) throws(PackError) {
    var assembler = PackAssembler(plan: plan)
    for _ in plan.chunks { assembler.placeRaw() }
    do throws(FileError) {
      let file = try OutputFile(withoutNameIn: directory)
      let codec = ChunkCodec()
      for embedded in plan.files {
        let chunk = codec.encode(embedded)
        let record = assembler.place(chunk)
        let stored = chunk.stored
        try file.write(stored.bytes.extracting(first: chunk.storedLength), at: record.offset)
      }
      let (header, tables) = assembler.assemble(errors: plan.tensors.map { _ in .init() })
      try file.write(tables.bytes, at: header.tablesOffset)
      try file.write(header.encoded().bytes, at: 0)
      self.init(header: header, file: file)
    } catch { throw .system(error) }
  }
}
