import Pack
import Storage
import TestSupport

extension MalformedPack {
  static let tensors: [Self] = [
    .tensor(.tensorEncoding, "a reserved byte", 4, at: 11, UInt8(1)),
    .tensor(.tensorEncoding, "a reserved half-word", 4, at: 30, UInt16(1)),
    .tensor(.tensorEncoding, "the last reserved bytes", 4, at: 88, UInt64(1)),
    .tensor(.tensorEncoding, "a group size of 48", 5, at: 8, UInt16(48)),
    .tensor(.tensorEncoding, "f32 with groups", 4, at: 8, UInt16(32)),
    .tensor(.tensorEncoding, "a source that is not plain", 5, at: 28, UInt16(16)),
    .tensor(.tensorEncoding, "an unknown encoding of our own version", 5, at: 6, UInt16(99)),
    .tensor(.tensorEncoding, "an encoding that is newer than the file", 5, at: 6, UInt16(19)),
    .tensor(.tensorEncoding, "a plain encoding with another source", 4, at: 28, UInt16(2)),
    .tensor(.tensorShape, "a dimension beyond the rank", 4, at: 40, UInt64(1)),
    .tensor(.tensorShape, "rank 0", 4, at: 10, UInt8(0)),
    .tensor(.tensorShape, "rank 5", 4, at: 10, UInt8(5)),
    .tensor(.tensorShape, "no rows", 5, at: 32, UInt64(0)),
    .tensor(.tensorShape, "2^64 - 1 rows", 5, at: 32, UInt64.max),
    .tensor(.tensorShape, "2^48 rows of 32", 5, at: 32, UInt64(1) << 48),
    .tensor(.tensorShape, "columns that the group size does not divide", 5, at: 40, UInt64(33)),
    .tensor(.tensorChunks, "a chunk more than its rows make", 0, at: 16, UInt32(5)),
    .tensor(.tensorChunks, "chunks that do not exist", 0, at: 12, UInt32.max),
    .tensor(.tensorChunks, "no rows in a chunk", 5, at: 64, UInt64(0)),
    .tensor(.tensorChunks, "more rows in a chunk than there are", 5, at: 64, UInt64.max),
    .tensor(.planePlace, "scales off their multiple", 5, at: 80, UInt64(1025)),
    .tensor(.planePlace, "scales where codes lie", 5, at: 80, UInt64(0)),
    .tensor(.planePlace, "codes at 2^64 - 64", 5, at: 72, UInt64.max - 63),
    .tensor(.planePlace, "a second plane of f32", 4, at: 80, UInt64(64)),
    .tables(.planePlace, "16-bit elements before the tail") { pack in
      pack.set(UInt64(0), at: pack.tensorRecord(1) + 72)
      return pack.tensorRecord(1) + 72
    },
    .tables(.planeCover, "fewer elements than the content holds") { pack in
      pack.set(UInt64(60), at: pack.tensorRecord(4) + 32)
      return nil
    },
    .tables(.tensorErrors, "an error that is no number") { pack in
      pack.set(Float.nan.bitPattern, at: pack.tensorRecord(5) + 20)
      return pack.tensorRecord(5) + 20
    },
    .tables(.tensorErrors, "an infinite error") { pack in
      pack.set(Float.infinity.bitPattern, at: pack.tensorRecord(5) + 20)
      return pack.tensorRecord(5) + 20
    },
    .tables(.tensorErrors, "a negative error") { pack in
      pack.set(Float(-1).bitPattern, at: pack.tensorRecord(5) + 20)
      return pack.tensorRecord(5) + 20
    },
    .tables(.tensorErrors, "a share above 1") { pack in
      pack.set(Float(1).nextUp.bitPattern, at: pack.tensorRecord(5) + 24)
      return pack.tensorRecord(5) + 24
    },
    .tables(.tensorErrors, "an error of a plain encoding") { pack in
      pack.set(Float(0.5).bitPattern, at: pack.tensorRecord(4) + 20)
      return pack.tensorRecord(4) + 20
    },
    .chunk(.owner, "rows that name another tensor", 6, at: 48, UInt32(4)),
    .chunk(.owner, "an owner that does not exist", 6, at: 48, UInt32.max),
    .chunk(.owner, "rows with a layer", 6, at: 54, UInt16(1)),
    .chunk(.owner, "rows with an expert number", 6, at: 56, UInt16(1)),
    .chunk(.owner, "a file with a layer", 9, at: 54, UInt16(1)),
    .chunk(.owner, "a file that names another", 9, at: 48, UInt32(0)),
    .expert("an expert of another layer", at: 54),
    .expert("another expert", at: 56),
  ]

  /// Names, their order and the files.
  static let names: [Self] = [
    .name(.tensorName, "a control character", tensor: 4, 0x1F),
    .name(.tensorName, "DEL", tensor: 4, 0x7F),
    .name(.tensorName, "not UTF-8", tensor: 4, 0xFF),
    .tensor(.tensorName, "outside the strings", 4, at: 0, UInt32.max),
    .tables(.tensorName, "no name") { pack in
      // The bytes of the name go to the one after, so that the strings stay end to end.
      let length: UInt16 = pack.integer(at: pack.tensorRecord(4) + 4)
      pack.set(UInt16(0), at: pack.tensorRecord(4) + 4)
      pack.add(length, at: pack.tensorRecord(5) + 4)
      pack.set(pack.integer(at: pack.tensorRecord(4), as: UInt32.self), at: pack.tensorRecord(5))
      return pack.tensorRecord(4)
    },
    .tables(.strings, "a bit after the names") { pack in
      pack.bytes[pack.strings + pack.stringsLength] = 1
      return pack.strings + pack.stringsLength
    },
    .tables(.strings, "two names share a letter") { pack in
      pack.add(UInt16(1), at: pack.tensorRecord(4) + 4)
      return pack.tensorRecord(5)
    },
    Self(.strings, "a byte that is no name's", by: .tables) { pack in
      pack.add(UInt32(1), at: 76)
      pack.sealTables()
      return pack.strings + pack.stringsLength
    },
    .name(.tensorOrder, "a name before its neighbour", tensor: 5, UInt8(ascii: "n")),
    .tables(.tensorOrder, "a name after its neighbour") { pack in
      pack.bytes[pack.strings + Int(pack.integer(at: pack.tensorRecord(4), as: UInt32.self))] = UInt8(ascii: "z")
      return pack.tensorRecord(5)
    },
    .file(.fileRecord, "a reserved half-word", 2, at: 6, UInt16(1)),
    Self(.fileRecord, "a kilobyte that says it is a tokenizer of a gigabyte", by: .tables, zstd: true) { pack in
      pack.set(UInt64(1 << 30), at: pack.chunkRecord(9) + 16)
      pack.set(UInt64(1 << 30), at: pack.chunkRecord(9) + 24)
      pack.sealTables()
      return pack.chunkRange(9).lowerBound
    },
    .file(.fileRecord, "reserved bytes", 2, at: 12, UInt32(1)),
    .file(.fileRecord, "a chunk that does not exist", 2, at: 8, UInt32(11)),
    .tables(.fileRecord, "a control character in a name") { pack in
      pack.bytes[pack.strings + pack.stringsLength - 1] = 0x0A
      return pack.fileRecord(2)
    },
    .tables(.fileRecord, "a name twice") { pack in
      // source/tokenizer.json becomes source/config.json, which is 3 letters shorter.
      pack.set(UInt16("source/config.json".utf8.count), at: pack.fileRecord(2) + 4)
      let start = pack.strings + pack.stringsLength - "source/tokenizer.json".utf8.count
      let name = Array("source/config.json".utf8)
      pack.bytes.replaceSubrange(start..<start + 21, with: name + [0, 0, 0])
      pack.add(UInt32(bitPattern: -3), at: 76)
      return pack.fileRecord(2)
    },
    .tables(.requiredFiles, "no provenance") { pack in
      let start = pack.strings + Int(pack.integer(at: pack.fileRecord(0), as: UInt32.self))
      pack.bytes.replaceSubrange(start..<start + 15, with: Array("source/aaa.json".utf8))
      return pack.fileRecord(0)
    },
    .tables(.requiredFiles, "no config") { pack in
      let start = pack.strings + Int(pack.integer(at: pack.fileRecord(1), as: UInt32.self))
      pack.bytes[start + 17] = UInt8(ascii: "m")
      return pack.fileRecord(0)
    },
    .tables(.fileRecord, "a name that leads out of a directory") { pack in
      let start = pack.strings + Int(pack.integer(at: pack.fileRecord(2), as: UInt32.self))
      pack.bytes[start + 9] = UInt8(ascii: "/")
      return pack.fileRecord(2)
    },
    .tables(.fileRecord, "a slash with an accent, which is one character to Swift") { pack in
      let start = pack.strings + Int(pack.integer(at: pack.fileRecord(2), as: UInt32.self))
      pack.bytes.replaceSubrange(start + 9..<start + 12, with: Array("/\u{301}".utf8))
      return pack.fileRecord(2)
    },
    .tables(.fileRecord, "a name outside `source/`") { pack in
      let start = pack.strings + Int(pack.integer(at: pack.fileRecord(2), as: UInt32.self))
      pack.bytes[start + 6] = UInt8(ascii: "-")
      return pack.fileRecord(2)
    },
  ]

  /// A field of the expert's chunk; each of its three tensors is then in the wrong place.
  private static func expert(_ name: String, at offset: Int) -> Self {
    tables(.owner, name) { pack in
      pack.add(UInt16(1), at: pack.chunkRecord(4) + offset)
      return nil
    }
  }

  /// The first letter of a tensor's name.
  private static func name(_ rule: PackRule, _ name: String, tensor: Int, _ letter: UInt8) -> Self {
    tables(rule, name) { pack in
      pack.bytes[pack.strings + Int(pack.integer(at: pack.tensorRecord(tensor), as: UInt32.self))] = letter
      return pack.tensorRecord(tensor)
    }
  }
}
