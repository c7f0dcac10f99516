import Pack
import Storage
import TestSupport
import Testing

/// A pack that breaks one rule, and who must see it.
struct MalformedPack: Sendable, CustomTestStringConvertible {
  enum Refusal { case opening, tables, check }

  let rule: PackRule
  let name: String
  /// Who refuses first; those after do too.
  let refusedBy: Refusal
  var isZstd = false
  /// Changes the bytes; returns a place in the file that the report's range must cover.
  let attack: @Sendable (inout PackBytes) throws -> Int?

  init(
    _ rule: PackRule, _ name: String, by refusedBy: Refusal, zstd: Bool = false,
    _ attack: @escaping @Sendable (inout PackBytes) throws -> Int?
  ) {
    (self.rule, self.name, self.refusedBy, self.isZstd, self.attack) = (rule, name, refusedBy, zstd, attack)
  }

  /// A field of the header, sealed.
  static func header<T: FixedWidthInteger & BitwiseCopyable & Sendable>(
    _ rule: PackRule, _ name: String, at position: Int, _ value: T
  ) -> Self {
    Self(rule, name, by: .opening) { pack in
      pack.set(value, at: position)
      pack.sealHeader()
      return position
    }
  }

  /// Bytes of the tables, sealed.
  static func tables(_ rule: PackRule, _ name: String, _ attack: @escaping @Sendable (inout PackBytes) -> Int?) -> Self
  {
    Self(rule, name, by: .tables) { pack in
      let place = attack(&pack)
      pack.sealTables()
      return place
    }
  }

  /// A field of a chunk, tensor or file record, sealed.
  static func chunk<T: FixedWidthInteger & BitwiseCopyable & Sendable>(
    _ rule: PackRule, _ name: String, _ index: Int, at offset: Int, _ value: T
  ) -> Self {
    tables(rule, name) { pack in
      pack.set(value, at: pack.chunkRecord(index) + offset)
      return pack.chunkRecord(index) + offset
    }
  }
  static func tensor<T: FixedWidthInteger & BitwiseCopyable & Sendable>(
    _ rule: PackRule, _ name: String, _ index: Int, at offset: Int, _ value: T
  ) -> Self {
    tables(rule, name) { pack in
      pack.set(value, at: pack.tensorRecord(index) + offset)
      return pack.tensorRecord(index) + offset
    }
  }
  static func file<T: FixedWidthInteger & BitwiseCopyable & Sendable>(
    _ rule: PackRule, _ name: String, _ index: Int, at offset: Int, _ value: T
  ) -> Self {
    tables(rule, name) { pack in
      pack.set(value, at: pack.fileRecord(index) + offset)
      return pack.fileRecord(index) + offset
    }
  }

  /// A byte of the content of a raw chunk, sealed.
  static func content(_ rule: PackRule, _ name: String, chunk: Int, at offset: Int, _ value: UInt16) -> Self {
    Self(rule, name, by: .check) { pack in
      pack.set(value, at: pack.chunkRange(chunk).lowerBound + offset)
      pack.seal()
      return pack.chunkRange(chunk).lowerBound + offset
    }
  }

  var testDescription: String { "rule \(rule.rawValue) \(rule): \(name)" }
}

// Chunks of the small pack: 0–3 rows of embed (32, 32, 32, 4), 4 the expert, 5 norm, 6–7 rows of q (32, 9), 8–10 files
// (config, tokenizer, provenance). Tensors: embed 0, down 1, gate 2, up 3, norm 4, q 5. File records: provenance 0, config 1, tokenizer 2.
extension MalformedPack {
  static let all: [Self] = headers + chunks + tensors + contents + names

  private static let headers: [Self] = [
    Self(.length, "cut within the header", by: .opening) { pack in
      pack.bytes.removeSubrange(255...)
      return 0
    },
    Self(.length, "empty", by: .opening) { pack in
      pack.bytes = []
      return nil
    },
    .header(.magic, "a transfer in text mode", at: 5, UInt16(0x0A0A)),
    .header(.readVersion, "a newer format", at: 8, UInt32(0x0002_0002)),
    .header(.readVersion, "version 0", at: 8, UInt16(0)),
    Self(.rootHash, "a bit of the root hash", by: .opening) { pack in
      pack.bytes[250] ^= 1
      return 250
    },
    Self(.rootHash, "a bit of a count", by: .opening) { pack in
      pack.bytes[66] ^= 1
      return 66
    },
    .header(.headerFields, "a reserved byte", at: 247, UInt8(1)),
    .header(.headerFields, "another header length", at: 12, UInt32(512)),
    .header(.headerFields, "write version below read version", at: 10, UInt16(0)),
    .header(.requiredFeatures, "an unknown feature", at: 16, UInt64(1) << 63),
    Self(.fileLength, "a byte missing", by: .opening) { pack in
      pack.bytes.removeLast()
      return 32
    },
    Self(.fileLength, "a byte too many", by: .opening) { pack in
      pack.bytes.append(0)
      return 32
    },
    .header(.fileLength, "declared as 2^64 - 1", at: 32, UInt64.max),
    .header(.counts, "no chunk", at: 64, UInt32(0)),
    .header(.counts, "no tensor", at: 68, UInt32(0)),
    .header(.counts, "2^32 - 1 chunks", at: 64, UInt32.max),
    .header(.counts, "2^22 + 1 tensors", at: 68, UInt32(1 << 22 + 1)),
    .header(.counts, "1025 files", at: 72, UInt32(1025)),
    .header(.counts, "2^28 + 1 bytes of names", at: 76, UInt32(1 << 28 + 1)),
    .header(.tablesPlace, "tables behind the file", at: 40, UInt64.max - 63),
    .header(.tablesPlace, "tables in the header", at: 40, UInt64(0)),
    .header(.tablesPlace, "a tensor more than the tables hold", at: 68, UInt32(7)),
    Self(.tablesPlace, "tables off their multiple", by: .opening) { pack in
      pack.add(UInt64(1), at: 40)
      pack.sealHeader()
      return 40
    },
    Self(.tablesHash, "another hash", by: .tables) { pack in
      pack.add(UInt64(1), at: 56)
      pack.sealHeader()
      return pack.tablesOffset
    },
    Self(.tablesHash, "an error of a tensor changed", by: .tables) { pack in
      pack.bytes[pack.tensorRecord(2) + 20] ^= 1
      return pack.tensorRecord(2) + 20
    },
  ]

  private static let chunks: [Self] = [
    .chunk(.chunkFields, "a reserved byte", 6, at: 63, UInt8(1)),
    .chunk(.chunkFields, "an unknown kind", 6, at: 52, UInt8(3)),
    .chunk(.chunkFields, "an unknown codec", 6, at: 53, UInt8(2)),
    Self(.chunkFields, "the zstd feature without zstd", by: .tables) { pack in
      pack.set(UInt64(1), at: 16)
      pack.sealHeader()
      return 16
    },
    Self(.chunkFields, "zstd without its feature", by: .tables, zstd: true) { pack in
      pack.set(UInt64(0), at: 16)
      pack.sealHeader()
      return 16
    },
    .tables(.chunkAlignment, "rows off their multiple of 64") { pack in
      pack.add(UInt64(32), at: pack.chunkRecord(1))
      return pack.chunkRecord(1)
    },
    .tables(.chunkAlignment, "a raw expert off its multiple of 16,384") { pack in
      pack.add(UInt64(64), at: pack.chunkRecord(4))
      return pack.chunkRecord(4)
    },
    Self(.chunkOrder, "64 bytes too many before the tables", by: .tables) { pack in
      pack.bytes.insert(contentsOf: [UInt8](repeating: 0, count: 64), at: pack.tablesOffset)
      pack.add(UInt64(64), at: 32)
      pack.add(UInt64(64), at: 40)
      pack.seal()
      return 40
    },
    .tables(.chunkOrder, "a chunk in the header") { pack in
      pack.set(UInt64(0), at: pack.chunkRecord(0))
      return pack.chunkRecord(0)
    },
    .tables(.chunkOrder, "a chunk at 2^64 - 64") { pack in
      pack.set(UInt64.max - 63, at: pack.chunkRecord(10))
      return pack.chunkRecord(10)
    },
    Self(.chunkGap, "a bit before the raw expert", by: .check) { pack in
      pack.bytes[pack.chunkRange(4).lowerBound - 1] = 1
      return pack.chunkRange(4).lowerBound - 1
    },
    Self(.chunkGap, "a bit before the tables", by: .check) { pack in
      pack.bytes[pack.tablesOffset - 1] = 0x80
      return pack.tablesOffset - 1
    },
    .chunk(.chunkLengths, "nothing stored", 6, at: 8, UInt64(0)),
    .chunk(.chunkLengths, "content longer than stored bytes", 6, at: 16, UInt64(1 << 20)),
    .chunk(.chunkLengths, "2^64 - 1 bytes", 6, at: 8, UInt64.max),
    Self(.chunkLengths, "a frame that does not pay", by: .tables, zstd: true) { pack in
      pack.set(pack.integer(at: pack.chunkRecord(4) + 8, as: UInt64.self), at: pack.chunkRecord(4) + 16)
      pack.sealTables()
      return pack.chunkRecord(4)
    },
    .tables(.rawHashes, "another content hash of raw rows") { pack in
      pack.add(UInt64(1), at: pack.chunkRecord(0) + 40)
      return pack.chunkRecord(0) + 40
    },
    Self(.rawHashes, "a changed raw expert and its stored hash", by: .tables) { pack in
      pack.bytes[pack.chunkRange(4).lowerBound + 40] ^= 0x10
      pack.set(pack.hash(pack.chunkRange(4)), at: pack.chunkRecord(4) + 32)
      pack.sealTables()
      return pack.chunkRecord(4) + 32
    },
    .tables(.chunkTail, "16-bit planes off their multiple") { pack in
      pack.add(UInt64(2), at: pack.chunkRecord(4) + 24)
      return pack.chunkRecord(4) + 24
    },
    .chunk(.chunkTail, "16-bit planes behind the content", 6, at: 24, UInt64.max),
  ]

  private static let contents: [Self] = [
    Self(.storedHash, "a bit of a chunk", by: .check) { pack in
      pack.bytes[pack.chunkRange(4).lowerBound + 100] ^= 0x10
      return pack.chunkRange(4).lowerBound + 100
    },
    Self(.storedHash, "a bit of a frame that no decoder looks at", by: .check, zstd: true) { pack in
      pack.bytes[pack.chunkRange(4).upperBound - 1] ^= 0x10
      return pack.chunkRange(4).upperBound - 1
    },
    Self(.frame, "no zstd magic", by: .check, zstd: true) { pack in
      pack.bytes[pack.chunkRange(4).lowerBound] ^= 1
      pack.seal()
      return pack.chunkRange(4).lowerBound
    },
    Self(.frame, "a frame of a skippable kind", by: .check, zstd: true) { pack in
      let range = pack.chunkRange(4)
      pack.set(UInt32(0x184D_2A50), at: range.lowerBound)
      pack.set(UInt32(range.count - 8), at: range.lowerBound + 4)
      pack.seal()
      return range.lowerBound
    },
    Self(.frame, "content one byte longer than the frame gives", by: .check, zstd: true) { pack in
      pack.add(UInt64(1), at: pack.chunkRecord(9) + 16)
      pack.add(UInt64(1), at: pack.chunkRecord(9) + 24)
      pack.seal()
      return pack.chunkRange(9).lowerBound
    },
    Self(.contentHash, "another hash of a zstd chunk", by: .check, zstd: true) { pack in
      pack.add(UInt64(1), at: pack.chunkRecord(4) + 40)
      pack.sealTables()
      return pack.chunkRange(4).lowerBound
    },
    // The last 9 rows of 32 codes end at 288, their scales start at 320.
    .content(.planeGap, "a bit between codes and scales", chunk: 7, at: 300, 1),
    .content(.scales, "a scale below 2^-17", chunk: 7, at: 320, 0x36FF),
    .content(.scales, "a scale above 65280", chunk: 7, at: 320, 0x4780),
    .content(.scales, "a scale of -0", chunk: 7, at: 320, 0x8000),
    .content(.scales, "a scale that is no number", chunk: 7, at: 320, 0x7FC0),
    Self(.scales, "scale 0 with a code", by: .check) { pack in
      let start = pack.chunkRange(7).lowerBound
      pack.set(UInt16(0), at: start + 320)
      pack.bytes[start + 31] = 1
      pack.seal()
      return start
    },
    Self(.scales, "an int8 code of -128", by: .check) { pack in
      let start = pack.chunkRange(7).lowerBound
      pack.set(UInt16(0x3C00), at: start + 320)
      pack.bytes[start + 3] = 0x80
      pack.seal()
      return start
    },
    .content(.requiredFiles, "a config that is no JSON", chunk: 8, at: 0, 0x2222),
    Self(.requiredFiles, "a provenance with a key twice", by: .check) { pack in
      let start = pack.chunkRange(10).lowerBound
      pack.bytes.replaceSubrange(start..<start + 12, with: Array(#"{"a":1,"a":}"#.utf8))
      pack.seal()
      return start
    },
    .content(.requiredFiles, "a provenance that is no JSON", chunk: 10, at: 0, 0x5B5B),
  ]
}
