import Glibc
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// A small GGUF, each of whose fields may be wrong.
struct GGUF {
  struct Tensor {
    var name: String
    /// The fastest first, as in the file.
    var dimensions: [UInt64]
    var type: UInt32 = 0
    var offset: UInt64
    var rank: UInt32?
  }

  var magic = "GGUF"
  var version: UInt32 = 3
  var tensorCount: UInt64?
  var valueCount: UInt64?
  /// Keys, and values with their types in front.
  var values: [(key: [UInt8], value: [UInt8])] = [
    (Array("general.architecture".utf8), GGUF.typed(8, GGUF.text("llada2"))),
    (
      Array("tokenizer.ggml.tokens".utf8),
      GGUF.typed(9, GGUF.le(UInt32(8)) + GGUF.le(UInt64(2)) + GGUF.text("a") + GGUF.text(""))
    ),
    (Array("llada2.expert_weights_scale".utf8), GGUF.typed(6, GGUF.le(Float(2.5).bitPattern))),
    (Array("x.scores".utf8), GGUF.typed(9, GGUF.le(UInt32(5)) + GGUF.le(UInt64(3)) + [UInt8](repeating: 1, count: 12))),
    (Array("x.on".utf8), GGUF.typed(7, [1])),
  ]
  var tensors = [
    Tensor(name: "a", dimensions: [3], offset: 0), Tensor(name: "b", dimensions: [64, 2, 2], type: 2, offset: 32),
    Tensor(name: "c", dimensions: [32], type: 8, offset: 192),
  ]
  var dataByteCount = 256
  var alignment = 32

  static func le<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    var writer = ByteWriter()
    writer.append(value)
    return writer.bytes
  }
  static func text(_ text: String) -> [UInt8] { le(UInt64(text.utf8.count)) + Array(text.utf8) }
  static func typed(_ type: UInt32, _ value: [UInt8]) -> [UInt8] { le(type) + value }

  var header: [UInt8] {
    var bytes = Array(magic.utf8) + Self.le(version) + Self.le(tensorCount ?? UInt64(tensors.count))
    bytes += Self.le(valueCount ?? UInt64(values.count))
    for (key, value) in values { bytes += Self.le(UInt64(key.count)) + key + value }
    for tensor in tensors {
      bytes += Self.text(tensor.name) + Self.le(tensor.rank ?? UInt32(tensor.dimensions.count))
      for dimension in tensor.dimensions { bytes += Self.le(dimension) }
      bytes += Self.le(tensor.type) + Self.le(tensor.offset)
    }
    return bytes
  }

  var bytes: [UInt8] {
    let header = header
    let padding = header.count.roundedUp(to: alignment) - header.count
    return header + [UInt8](repeating: 0, count: padding + dataByteCount)
  }
}

@Suite struct GGUFTests {
  /// Why a file is refused; nil where it is not.
  private func refusal(_ bytes: [UInt8]) throws -> SafetensorsError? {
    try withTemporaryDirectory { directory in
      try write(bytes, to: directory + "/x.gguf")
      do throws(SafetensorsError) { _ = try SafetensorsFile(path: directory + "/x.gguf") } catch {
        #expect(error.path == directory + "/x.gguf" && !error.description.isEmpty)
        #expect((error.byteOffset ?? 0) <= bytes.count)
        return error
      }
      return nil
    }
  }

  @Test func tensorsAndMetadata() throws {
    var gguf = GGUF()
    // Longer than what is kept: what it holds is not looked at.
    gguf.values.append(
      (Array("x.long".utf8), GGUF.typed(8, GGUF.le(UInt64(1025)) + [UInt8](repeating: 0xFF, count: 1025))))
    try withTemporaryDirectory { directory in
      try write(gguf.bytes, to: directory + "/x.gguf")
      let file = try SafetensorsFile(path: directory + "/x.gguf")
      #expect(
        file.metadata == [
          "general.architecture": "llada2", "llada2.expert_weights_scale": "2.5", "x.on": "true", "x.long": "…",
          "tokenizer.ggml.tokens": "[…]", "x.scores": "[…]",
        ])
      #expect(file.tensors.map(\.name) == ["a", "b", "c"])
      #expect(file.tensors.map(\.shape.dimensions) == [[3], [2, 2, 64], [32]])
      #expect(file.tensors.map(\.dtype) == [.f32, GGUFTypes.q4_0, GGUFTypes.q8_0])
      let start = file.headerByteCount
      #expect(
        file.tensors.map(\.byteRange) == [start..<start + 12, start + 32..<start + 176, start + 192..<start + 226])
      for tensor in file.tensors {
        let mapping = file.file
        let name = mapping.bytes.extracting(tensor.headerOffset + 8..<tensor.headerOffset + 9).utf8
        #expect(name == tensor.name)
      }
    }
  }

  @Test func aFileCutAnywhereIsRefused() throws {
    let whole = GGUF().bytes
    // Padding behind the last tensor may be missing.
    let needed = whole.count - GGUF().dataByteCount + 226
    for count in 0..<whole.count {
      let error = try refusal(Array(whole[..<count]))
      #expect((error == nil) == (count >= needed), "\(count)")
      if let error, count >= 4 { #expect(error.hint?.contains("incomplete") ?? false, "\(count): \(error)") }
    }
    #expect(try refusal(whole + [0])?.rule == .trailingBytes)
  }

  /// Changes of one field, and what the message must say.
  private static let mutations: [(String, @Sendable (inout GGUF) -> Void)] = [
    ("`GGUF`", { $0.magic = "GGUX" }), ("version 2", { $0.version = 2 }), ("big-endian", { $0.version = 0x0300_0000 }),
    ("version 0;", { $0.version = 0 }),
    ("too short", { $0.tensorCount = .max }), ("too short", { $0.tensorCount = 1 << 40 }),
    ("too short", { $0.valueCount = .max }),
    ("key `x.on` twice", { $0.values.append($0.values[4]) }),
    ("no UTF-8", { $0.values[0].key = [0xFF, 0xFE] }),
    ("1024 bytes of a key", { $0.values[0].key = [UInt8](repeating: 0x61, count: 1025) }),
    ("1024 bytes of the name", { $0.tensors[0].name = String(repeating: "a", count: 1025) }),
    ("no UTF-8", { $0.values[0].value = GGUF.typed(8, GGUF.le(UInt64(1)) + [0xFF]) }),
    ("type 13", { $0.values[4].value = GGUF.typed(13, [1]) }),
    ("values of type 9", { $0.values[3].value = GGUF.typed(9, GGUF.le(UInt32(9)) + GGUF.le(UInt64(1))) }),
    ("too short", { $0.values[3].value = GGUF.typed(9, GGUF.le(UInt32(12)) + GGUF.le(UInt64.max)) }),
    (
      "too short", { $0.values[1].value = GGUF.typed(9, GGUF.le(UInt32(8)) + GGUF.le(UInt64(1)) + GGUF.le(UInt64.max)) }
    ),
    ("too short", { $0.values[0].value = GGUF.typed(8, GGUF.le(UInt64.max)) }),
    ("power of two", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(4, GGUF.le(UInt32(48)))) }),
    ("power of two", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(4, GGUF.le(UInt32(0)))) }),
    ("power of two", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(4, GGUF.le(UInt32.max))) }),
    ("type 10", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(10, GGUF.le(UInt64(32)))) }),
    ("type 8", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(8, GGUF.text("32"))) }),
    ("must be", { $0.values[4] = (Array("general.alignment".utf8), GGUF.typed(4, GGUF.le(UInt32(64)))) }),
    ("is there twice", { $0.tensors[1].name = "a" }), ("5 dimensions", { $0.tensors[0].rank = 5 }),
    ("type 99", { $0.tensors[1].type = 99 }), ("type 4,", { $0.tensors[1].type = 4 }),
    ("rows of blocks", { $0.tensors[1].dimensions[0] = 63 }), ("rows of blocks", { $0.tensors[1].dimensions = [] }),
    ("has shape", { $0.tensors[0].dimensions = [.max, .max] }),
    ("has shape", { $0.tensors[0].dimensions = [1 << 62, 4] }),
    ("too many", { $0.tensors[0].dimensions = [1 << 62] }), ("ends at byte", { $0.tensors[2].dimensions = [1 << 40] }),
    ("ends at byte", { $0.tensors[2].dimensions = [96] }), ("belong to no tensor", { $0.tensors.removeLast() }),
    ("must be 192", { $0.tensors[2].offset = 193 }), ("must be 192", { $0.tensors[2].offset = 224 }),
    ("must be 0", { $0.tensors[0].offset = 64 }), ("must be", { $0.tensors[2].offset = 32 }),
    ("must be 192", { $0.tensors[2].offset = .max }), ("must be 32", { $0.tensors[1].offset = 0 }),
  ]

  @Test("each field is looked at", arguments: mutations.indices)
  func eachField(index: Int) throws {
    let (words, change) = Self.mutations[index]
    var gguf = GGUF()
    change(&gguf)
    let error = try refusal(gguf.bytes)
    #expect(error?.message.contains(words) ?? false, "\(index): \(error?.description ?? "accepted")")
  }

  @Test func noByteTraps() throws {
    var random = SeededRandom(seed: 7)
    let whole = GGUF().bytes
    let headerCount = GGUF().header.count
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0..<Int(random.next() % 3) + 1 {
        bytes[Int(random.next() % UInt64(headerCount))] = UInt8(truncatingIfNeeded: random.next())
      }
      _ = try refusal(bytes)
    }
  }

  @Test(
    "a header has an end, whatever the file has room for",
    arguments: [
      // Empty texts, for which any zeros will do; then a text, a list of bytes, and tensors.
      GGUF.typed(9, GGUF.le(UInt32(8)) + GGUF.le(UInt64(1) << 34)), GGUF.typed(8, GGUF.le(UInt64(1) << 37)),
      GGUF.typed(9, GGUF.le(UInt32(0)) + GGUF.le(UInt64(1) << 37)), nil,
    ])
  func headerHasAnEnd(value: [UInt8]?) throws {
    var gguf = GGUF()
    if let value { gguf.values.append((Array("x.more".utf8), value)) } else { gguf.tensorCount = 1 << 32 }
    try withTemporaryDirectory { directory in
      let path = directory + "/x.gguf"
      try write(gguf.header, to: path)
      try #require(unsafe truncate(path, 1 << 38) == 0)
      do throws(SafetensorsError) { _ = try SafetensorsFile(path: path) } catch {
        #expect(error.message.contains("more than 100000000 bytes"), "\(error)")
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func typesThatAreNotReadAreListed() throws {
    var gguf = GGUF()
    (gguf.tensors[1].type, gguf.tensors[1].dimensions, gguf.tensors[2].offset) = (12, [256, 2], 320)
    gguf.dataByteCount = 384
    try withTemporaryDirectory { directory in
      try write(gguf.bytes, to: directory + "/x.gguf")
      #expect(try SafetensorsFile(path: directory + "/x.gguf").tensors[1].dtype == .other("Q4_K"))
    }
  }

  /// A model of two files.
  private func part(_ number: UInt16, of count: UInt16, tensors: Int32 = 6) -> GGUF {
    var gguf = GGUF()
    gguf.values += [
      (Array("split.no".utf8), GGUF.typed(2, GGUF.le(number))),
      (Array("split.count".utf8), GGUF.typed(2, GGUF.le(count))),
      (Array("split.tensors.count".utf8), GGUF.typed(5, GGUF.le(tensors))),
    ]
    for index in gguf.tensors.indices { gguf.tensors[index].name += "\(number)" }
    return gguf
  }

  @Test func splitFilesAreOneModel() throws {
    try withTemporaryDirectory { directory in
      let names = (1...2).map { "\(directory)/m-q-0000\($0)-of-00002.gguf" }
      try write(part(0, of: 2).bytes, to: names[0])
      for opens in [names[0], directory] {
        do throws(SafetensorsError) { _ = try Checkpoint(path: opens) } catch {
          #expect(error.reason == .shardMissing("m-q-00002-of-00002.gguf") && error.path == names[0])
          continue
        }
        throw TestFailure("accepted")
      }
      try write(part(1, of: 2).bytes, to: names[1])
      for path in [names[0], names[1], directory] {
        let checkpoint = try Checkpoint(path: path)
        #expect(checkpoint.tensorNames == ["a0", "a1", "b0", "b1", "c0", "c1"] && checkpoint.directory == directory)
      }
      #expect(try Checkpoint(path: names[1], companions: "/elsewhere").directory == "/elsewhere")
      for wrong in [part(0, of: 2), part(1, of: 3), part(1, of: 2, tensors: 7), GGUF()] {
        try write(wrong.bytes, to: names[1])
        do throws(SafetensorsError) { _ = try Checkpoint(path: directory) } catch {
          #expect([.gguf, .tensorInTwoShards].contains(error.rule), "\(error)")
          continue
        }
        throw TestFailure("accepted")
      }
    }
  }

  @Test func shardsWithoutTheirIndexAreNotPassedOver() throws {
    try withTemporaryDirectory { directory in
      try write(GGUF().bytes, to: directory + "/a.gguf")
      #expect(Checkpoint.weightFiles(in: directory) == ["a.gguf"])
      try writeShard([("a", 4)], to: directory + "/model-00001-of-00002.safetensors")
      do throws(SafetensorsError) { _ = try Checkpoint(directory: directory) } catch {
        #expect(error.reason == .noIndex && error.rule == .noCheckpoint)
        #expect(try Checkpoint(path: directory + "/a.gguf").isGGUF)
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func anIndexNamesNoGGUF() throws {
    try withTemporaryDirectory { directory in
      try write(GGUF().bytes, to: directory + "/a.gguf")
      let map = ["a", "b", "c"].map { "\"\($0)\":\"a.gguf\"" }.joined(separator: ",")
      try write(Array("{\"weight_map\":{\(map)}}".utf8), to: directory + "/model.safetensors.index.json")
      do throws(SafetensorsError) { _ = try Checkpoint(directory: directory) } catch {
        #expect(error.reason == .shardName("a.gguf"))
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func aModelSaysItsFamily() throws {
    var gguf = GGUF()
    gguf.values.removeFirst()
    try withTemporaryDirectory { directory in
      try write(gguf.bytes, to: directory + "/a.gguf")
      do throws(SafetensorsError) { _ = try Checkpoint(directory: directory) } catch {
        #expect(error.message.contains("general.architecture"))
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func aDirectoryHasOneModel() throws {
    try withTemporaryDirectory { directory in
      for name in ["a.gguf", "b.gguf"] { try write(GGUF().bytes, to: "\(directory)/\(name)") }
      do throws(SafetensorsError) { _ = try Checkpoint(directory: directory) } catch {
        #expect(error.rule == .twoCheckpoints)
        return
      }
      throw TestFailure("accepted")
    }
  }
}
