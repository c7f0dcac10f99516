import Storage
import Tensors

/// The header of a GGUF file, version 3: a magic number, metadata of any kind, and a line for each tensor.
///
/// As with safetensors, nothing behind this trusts the bytes of a file: what is returned lies within it, fits type and shape, and has
/// neither overlap nor hole beyond what alignment leaves.
enum GGUFHeader {
  /// What says where the data of tensors begin.
  private static var alignmentKey: String { "general.alignment" }
  /// Longest key, and longest name of a tensor; longer values of metadata are passed over. ggml has names of 64 bytes.
  private static var longestText: Int { 1024 }
  /// Dimensions of a tensor, as ggml has them.
  private static var maximumRank: Int { 4 }
  /// What lies in front of a tensor's data at most.
  private static var alignments: ClosedRange<UInt64> { 1...65536 }

  /// - Throws: ``SafetensorsRule/gguf``, and ``SafetensorsRule/dataOutsideFile`` for a file that was cut short behind its header.
  static func parse(_ file: MappedFile) throws(SafetensorsError) -> SafetensorsHeader {
    var reader = Reader(file: file)
    guard file.byteCount >= 4, file.bytes.extracting(first: 4).array == Array("GGUF".utf8) else {
      throw reader.bad("does not begin with `GGUF`", at: 0)
    }
    reader.at = 4
    let version: UInt32 = try reader.number("the version")
    guard version == 3 else {
      let isSwapped = (1...3).contains(version.byteSwapped)
      throw reader.bad(
        isSwapped ? "is big-endian, which is not read" : "has version \(version); version 3 is read", at: 4)
    }
    // No line of a tensor is shorter than its length, rank, type and offset; no value than its key's length, its type and a byte.
    let tensorCount = try reader.count("tensors", each: 24)
    let valueCount = try reader.count("values of metadata", each: 13)
    let metadata = try self.metadata(&reader, valueCount)
    let alignment = try self.alignment(metadata, reader)
    var lines: [Line] = []
    var names: Set<String> = []
    for _ in 0..<tensorCount {
      let line = try Line(&reader)
      guard names.insert(line.name).inserted else {
        throw reader.bad("is there twice", tensor: line.name, at: line.headerOffset)
      }
      lines.append(line)
    }
    let start = reader.at.roundedUp(to: alignment)
    guard start <= file.byteCount || lines.isEmpty else {
      throw reader.bad("ends before its data begins, at byte \(start)", isCut: true, at: reader.at)
    }
    // Without tensors the header may end anywhere.
    return SafetensorsHeader(
      byteCount: min(start, file.byteCount), metadata: metadata,
      tensors: try place(lines, from: start, alignment, reader))
  }

  private static func metadata(
    _ reader: inout Reader, _ count: Int
  ) throws(SafetensorsError) -> [String: String] {
    var metadata: [String: String] = [:]
    var keys: Set<String> = []
    for _ in 0..<count {
      let start = reader.at
      let key = try reader.name("a key")
      guard keys.insert(key).inserted else { throw reader.bad("has the key `\(key)` twice", at: start) }
      let kind: UInt32 = try reader.number("the type of `\(key)`")
      guard key != alignmentKey || kind == 4 else {
        throw reader.bad("has `\(key)` of type \(kind), must be 4, a whole number", at: start)
      }
      metadata[key] = try reader.value(kind, of: key)
    }
    return metadata
  }

  private static func alignment(
    _ metadata: [String: String], _ reader: Reader
  ) throws(SafetensorsError) -> Int {
    guard let text = metadata[alignmentKey] else { return 32 }
    guard let alignment = UInt64(text), alignments.contains(alignment), alignment.nonzeroBitCount == 1 else {
      throw reader.bad("says `\(alignmentKey)` \(text), which is no power of two up to 65536", at: nil)
    }
    return Int(alignment)
  }

  /// A tensor as the header tells it.
  private struct Line {
    let name: String
    let shape: Shape
    let block: GGUFTypes.Block
    let byteCount: Int
    /// From where data begin.
    let offset: UInt64
    let headerOffset: Int

    init(_ reader: inout Reader) throws(SafetensorsError) {
      headerOffset = reader.at
      name = try reader.name("the name of a tensor")
      let rank: UInt32 = try reader.number("the rank of `\(name)`")
      guard rank <= maximumRank else {
        throw reader.bad("has \(rank) dimensions; there are at most \(maximumRank)", tensor: name, at: headerOffset)
      }
      var dimensions: [Int] = []
      for _ in 0..<rank {
        let dimension: UInt64 = try reader.number("the shape of `\(name)`")
        dimensions.insert(Int(clamping: dimension), at: 0)  // the fastest comes first there
      }
      let type: UInt32 = try reader.number("the type of `\(name)`")
      offset = try reader.number("the offset of `\(name)`")
      guard let block = GGUFTypes.block(type) else {
        throw reader.bad("has type \(type), which is not known", tensor: name, at: headerOffset)
      }
      guard let shape = Shape(dimensions), shape.columns % block.elements == 0 else {
        throw reader.bad(
          "has shape \(dimensions), which \(block.name) cannot hold: rows of blocks of \(block.elements)", tensor: name,
          at: headerOffset)
      }
      let (byteCount, overflow) = (shape.elementCount / block.elements).multipliedReportingOverflow(
        by: block.byteCount)
      guard !overflow else { throw reader.bad("has too many elements", tensor: name, at: headerOffset) }
      (self.shape, self.block, self.byteCount) = (shape, block, byteCount)
    }
  }

  /// Tensors follow each other in some order, each aligned, and the file ends with the last one or its padding.
  private static func place(
    _ lines: [Line], from start: Int, _ alignment: Int, _ reader: Reader
  ) throws(SafetensorsError) -> [TensorEntry] {
    var entries: [TensorEntry] = []
    var end = 0
    for line in lines.sorted(by: { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }) {
      let expected = end.roundedUp(to: alignment)
      guard line.offset == UInt64(expected) else {
        throw reader.bad(
          "begins at data offset \(line.offset), but the data before end so that it must be \(expected)",
          tensor: line.name, at: line.headerOffset)
      }
      // An offset so far was reached by tensors that lie within the file.
      guard line.byteCount <= reader.byteCount - start - expected else {
        let (position, overflow) = (start + expected).addingReportingOverflow(line.byteCount)
        throw SafetensorsError(
          .dataOutsideFile(end: overflow ? Int.max : position, fileByteCount: reader.byteCount),
          path: reader.file.path, tensor: line.name, byteOffset: line.headerOffset)
      }
      end = expected + line.byteCount
      entries.append(
        TensorEntry(
          name: line.name, dtype: line.block.dtype, shape: line.shape, byteRange: start + expected..<start + end,
          headerOffset: line.headerOffset))
    }
    let last = entries.last?.byteRange.upperBound ?? min(start, reader.byteCount)
    guard reader.byteCount <= start + end.roundedUp(to: alignment) else {
      throw SafetensorsError(.trailingBytes(last..<reader.byteCount), path: reader.file.path, byteOffset: last)
    }
    return entries
  }

  /// Reads field after field, none beyond the end of the file, nor of the longest header.
  private struct Reader {
    let file: MappedFile
    var at = 0
    private static var limit: Int { SafetensorsHeader.maximumByteCount }

    init(file: MappedFile) { self.file = file }

    var byteCount: Int { file.byteCount }

    func bad(
      _ detail: String, isCut: Bool = false, tensor: String? = nil, at byteOffset: Int?
    ) -> SafetensorsError {
      SafetensorsError(.gguf(detail, isCut: isCut), path: file.path, tensor: tensor, byteOffset: byteOffset)
    }

    private func require(_ count: Int, _ what: String) throws(SafetensorsError) {
      guard count <= byteCount - at else { throw bad("ends within \(what)", isCut: true, at: at) }
      guard count <= Self.limit - at else { throw bad("has a header of more than \(Self.limit) bytes", at: at) }
    }

    mutating func number<T: FixedWidthInteger & BitwiseCopyable>(_ what: String) throws(SafetensorsError) -> T {
      try require(MemoryLayout<T>.size, what)
      defer { at += MemoryLayout<T>.size }
      return file.bytes.integer(at: at)
    }

    /// How many of something follow, each of which takes some bytes.
    mutating func count(_ what: String, each byteCount: Int) throws(SafetensorsError) -> Int {
      let start = at
      let count: UInt64 = try number("the number of \(what)")
      guard count <= UInt64((self.byteCount - at) / byteCount) else {
        throw bad("says that it has \(count) \(what), for which it is too short", isCut: true, at: start)
      }
      try require(Int(count) * byteCount, what)
      return Int(count)
    }

    /// A key, or the name of a tensor.
    mutating func name(_ what: String) throws(SafetensorsError) -> String {
      let start = at
      guard let name = try text(what) else {
        throw bad("has more than \(longestText) bytes of \(what)", at: start)
      }
      return name
    }

    /// Nil for a text that is too long, which is passed over.
    mutating func text(_ what: String) throws(SafetensorsError) -> String? {
      let start = at
      let count = try self.count("bytes of \(what)", each: 1)
      defer { at += count }
      guard count <= longestText else { return nil }
      guard let text = file.bytes.extracting(at..<at + count).utf8 else {
        throw bad("has bytes that are no UTF-8 in \(what)", at: start)
      }
      return text
    }

    /// A value of metadata as text. Lists and long texts are passed over: `[…]` and `…` stand for them.
    mutating func value(_ kind: UInt32, of key: String) throws(SafetensorsError) -> String {
      let what = "the value of `\(key)`"
      switch kind {
      case 0: return "\(try number(what) as UInt8)"
      case 1: return "\(try number(what) as Int8)"
      case 2: return "\(try number(what) as UInt16)"
      case 3: return "\(try number(what) as Int16)"
      case 4: return "\(try number(what) as UInt32)"
      case 5: return "\(try number(what) as Int32)"
      case 6: return "\(Float(bitPattern: try number(what)))"
      case 7: return try (number(what) as UInt8) == 0 ? "false" : "true"
      case 8: return try text(what) ?? "…"
      case 9:
        let element: UInt32 = try number("the type of the elements of `\(key)`")
        let width = [0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 10: 8, 11: 8, 12: 8][element]
        guard let width else { throw bad("has a list of values of type \(element) as `\(key)`", at: at - 4) }
        let count = try self.count("elements of `\(key)`", each: width)
        if element == 8 {
          for _ in 0..<count { at += try self.count("bytes of an element of `\(key)`", each: 1) }
        } else {
          at += count * width
        }
        return "[…]"
      case 10: return "\(try number(what) as UInt64)"
      case 11: return "\(try number(what) as Int64)"
      case 12: return "\(Double(bitPattern: try number(what)))"
      default: throw bad("has a value of type \(kind) as `\(key)`, which is not known", at: at - 4)
      }
    }
  }
}
