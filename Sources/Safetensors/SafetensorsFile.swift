package import Storage

/// One safetensors file, or a GGUF: the owner of its mapping and of the table that was checked when it was opened.
///
/// After `init` all positions are trusted. The promise of ``MappedFile`` holds here too: nobody may shorten the file.
package final class SafetensorsFile: Sendable {
  /// The mapping, for hints about what is needed next and what no longer is.
  package let file: MappedFile
  /// Whether it was read as a GGUF, whose types have the lengths that are their own.
  package let isGGUF: Bool
  private let table: SafetensorsHeader

  /// Maps the file and checks its header against every rule.
  ///
  /// - Throws: `system` when the file cannot be opened, else the first rule it breaks. A file cut short breaks
  ///   `fileTooShort`, `headerOutsideFile` or `dataOutsideFile`.
  package init(path: String) throws(SafetensorsError) {
    let file: MappedFile
    do throws(FileError) { file = try MappedFile(path: path) } catch { throw SafetensorsError(error) }
    isGGUF = path.hasSuffix(Checkpoint.ggufSuffix)
    table =
      try isGGUF
      ? GGUFHeader.parse(file)
      : SafetensorsHeader.parse(header: file.bytes, fileByteCount: file.byteCount, path: path)
    self.file = file
  }

  /// Stands for a file that is not here, whose header and length are known; its tensors must not be read.
  ///
  /// - Throws: `system`, or the first rule that the header breaks.
  package init(standingFor path: String, byteCount: Int, header: RawSpan) throws(SafetensorsError) {
    do throws(FileError) {
      file = try MappedFile(standingFor: path, byteCount: byteCount, start: header)
    } catch { throw SafetensorsError(error) }
    isGGUF = false
    table = try SafetensorsHeader.parse(header: header, fileByteCount: byteCount, path: path)
  }

  package var path: String { file.path }

  /// Bytes in front of the data: the 8 of the length and the JSON with its padding.
  package var headerByteCount: Int { table.byteCount }

  /// `__metadata__`, empty when there is none; of a GGUF all values as texts, of lists and long texts only that they are there.
  package var metadata: [String: String] { table.metadata }

  /// All tensors in the order of their bytes.
  package var tensors: [TensorEntry] { table.tensors }

  /// The file's name without its directory.
  package var name: String {
    // By bytes, as the system sees it: a slash with a combining accent behind it is another `Character`.
    Checkpoint.split(path).name
  }

  /// Bytes of all tensors together.
  package var dataByteCount: Int { file.byteCount - headerByteCount }

  /// The first `headerByteCount` bytes, as they are in the file.
  package var header: RawSpan {
    @_lifetime(borrow self) get { bytes(in: 0..<headerByteCount) }
  }

  /// The entry of a name, or nil.
  package subscript(name: String) -> TensorEntry? { table[name] }

  /// The elements of one of this file's tensors, little-endian. Traps for an entry of a longer file.
  @_lifetime(borrow self)
  package func bytes(of tensor: TensorEntry) -> RawSpan { bytes(in: tensor.byteRange) }

  @_lifetime(borrow self)
  private func bytes(in range: Range<Int>) -> RawSpan {
    // The mapping lives as long as `self` does. The compiler ties a span to the loaded reference instead and refuses to
    // return it, so the lifetime is stated anew; the pointer does not leave this function.
    let mapping = file
    precondition(range.lowerBound >= 0 && range.upperBound <= mapping.byteCount, "bytes outside the file")
    let pointer = unsafe mapping.bytes.withUnsafeBytes { all in unsafe UnsafeRawBufferPointer(rebasing: all[range]) }
    return unsafe _overrideLifetime(RawSpan(_unsafeBytes: pointer), borrowing: self)
  }
}
