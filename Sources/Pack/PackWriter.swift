import Tensors

/// Writes a pack in one pass: chunks in the order of the plan, then the tables, then the header, then the name.
package struct PackWriter: ~Copyable {
  private var assembler: PackAssembler
  private let file: OutputFile
  /// Bytes written so far, tables and header not counted.
  package var byteCount: Int { assembler.tablesOffset }

  /// - Parameter replaces: whether a file that has the name may be replaced.
  /// - Throws: ``PackError/system(_:)`` when the temporary sibling cannot be made.
  package init(path: String, plan: PackPlan, replaces: Bool = true) throws(PackError) {
    assembler = PackAssembler(plan: plan)
    do { file = try OutputFile(path: path, replaces: replaces) } catch { throw .system(error) }
  }

  /// Writes the next chunk of the plan.
  package mutating func append(_ chunk: EncodedChunk) throws(PackError) {
    let record = assembler.place(chunk)
    // Gaps between chunks are never written: the file system reads them as zeros.
    let stored = chunk.stored
    try write(stored.bytes.extracting(first: chunk.storedLength), at: record.offset)
  }

  /// Writes the embedded files, the tables and the header, and gives the file its name.
  ///
  /// - Parameters:
  ///   - errors: by tensor of the plan.
  ///   - codec: compresses the embedded files.
  /// - Returns: the header as written.
  package consuming func finish(
    errors: [PackAssembler.TensorErrors], codec: ChunkCodec
  ) throws(PackError) -> PackHeader {
    for embedded in assembler.plan.files { try append(codec.encode(embedded)) }
    let (header, tables) = assembler.assemble(errors: errors)
    try write(tables.bytes, at: header.tablesOffset)
    let first = header.encoded()
    try write(first.bytes, at: 0)
    do { try file.commit() } catch { throw .system(error) }
    return header
  }

  private func write(_ bytes: RawSpan, at position: Int) throws(PackError) {
    do { try file.write(bytes, at: position) } catch { throw .system(error) }
  }
}
