package import Storage

/// Writes a pack in one pass: chunks in the order of the plan, then the tables, then the header, then the name.
package struct PackWriter: ~Copyable {
  private var assembler: PackAssembler
  private var output: SequentialOutput
  /// Bytes placed so far, tables and header not counted.
  package var byteCount: Int { assembler.tablesOffset }

  /// Writes a file that has a name when it is committed.
  ///
  /// - Throws: ``PackError/system(_:)`` when it cannot be made.
  package init(path: String, plan: PackPlan) throws(PackError) {
    do throws(FileError) { try self.init(OutputFile(path: path), plan: plan) } catch { throw .system(error) }
  }

  /// - Parameters:
  ///   - depth: chunks that may still be on their way to the disk when `append` returns.
  ///   - byteCount: of the whole file, where it is known before.
  package init(
    _ file: consuming OutputFile, plan: PackPlan, depth: Int = 0, byteCount: Int? = nil
  ) throws(FileError) {
    assembler = PackAssembler(plan: plan)
    output = try SequentialOutput(file, depth: depth, byteCount: byteCount)
  }

  /// Goes on with a pack whose first chunks are in the file already.
  ///
  /// - Parameters:
  ///   - assembler: that gave those chunks their places.
  ///   - depth: chunks that may still be on their way to the disk when `append` returns.
  package init(continuing file: consuming OutputFile, _ assembler: PackAssembler, depth: Int) throws(FileError) {
    self.assembler = assembler
    output = try SequentialOutput(continuing: file, at: assembler.end, depth: depth)
  }

  /// Writes the next chunk of the plan.
  ///
  /// - Returns: where it lies.
  @discardableResult
  package mutating func append(_ chunk: EncodedChunk) throws(PackError) -> ChunkRecord {
    let record = assembler.place(chunk)
    do { try output.append(chunk.stored, byteCount: chunk.storedLength, at: record.offset) } catch {
      throw .system(error)
    }
    return record
  }

  /// Writes the embedded files, the tables and the header.
  ///
  /// - Parameters:
  ///   - errors: by tensor of the plan.
  ///   - codec: compresses the embedded files.
  ///   - files: those of which the plan knew only name and length.
  package consuming func finish(
    errors: [PackAssembler.TensorErrors], codec: ChunkCodec, files: [PackPlan.File] = []
  ) throws(PackError) -> UnnamedPack {
    for planned in assembler.plan.files {
      let embedded = files.first { $0.name == planned.name } ?? planned
      precondition(embedded.bytes.count == planned.bytes.count)
      try append(codec.encode(embedded))
    }
    let (header, tables) = assembler.assemble(errors: errors)
    let first = header.encoded()
    do {
      try output.append(tables.bytes, at: header.tablesOffset)
      let file = try output.finish()
      try file.write(first.bytes, at: 0)
      return UnnamedPack(header: header, file: file)
    } catch { throw .system(error) }
  }
}

/// A pack that is whole and has no name yet: without one it goes when nobody reads it any more.
package struct UnnamedPack: ~Copyable {
  package let header: PackHeader
  private let file: OutputFile

  init(header: PackHeader, file: consuming OutputFile) {
    self.header = header
    self.file = file
  }

  /// A path under which this process can read it.
  package var link: String { file.link }

  /// Gives it the name that its writer was made for.
  package consuming func commit() throws(PackError) {
    do throws(FileError) { try file.commit() } catch { throw .system(error) }
  }
}
