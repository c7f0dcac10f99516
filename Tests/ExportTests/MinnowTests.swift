import Glibc
import Conversion
import Export
import Kernels
import Pack
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

/// The container of minnow, read as its document says.
@Suite struct MinnowTests {
  @Test("every tensor is the pack's, and every digest right", arguments: Encoding.grouped.map(\.description))
  func roundTrip(encoding: String) throws {
    // Negative scales change the signs of codes of 8 bits.
    let solver = encoding.hasPrefix("int8") ? Solvers.search : Solvers.searchPositive
    try withBlockRouting { checkpoint in
      // Groups of 128 do not divide the width of pico's experts.
      guard !encoding.contains("g128") else { return }
      try withPack(of: checkpoint, recipe(encoding), solver: solver) { pack, directory in
        let plan = try export(pack, to: MinnowFormat.self, directory + "/pico.mnw")
        let file = try MinnowReader(try contents(of: directory + "/pico.mnw"))
        #expect(file.bytes.count == plan.byteCount)
        #expect(file.manifest["version"] == .number(1) && file.manifest["architecture"] == .text("llada2_moe"))
        #expect(file.manifest["model_id"] == .text("llada2_moe"))
        let assets = try #require(file.manifest["assets"]?.map)
        #expect(Set(assets.keys) == ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"])
        #expect(
          try assets["tokenizer.json"]
            == .text(String(decoding: contents(of: picoPath + "/tokenizer.json"), as: UTF8.self)))
        var tensors = try #require(file.manifest["tensors"]?.map)
        var negative = 0
        for (name, packed) in try PackedTensor.all(pack) {
          let tensor = try #require(tensors.removeValue(forKey: name)?.map)
          #expect(tensor["shape"] == .list(packed.shape.map { .number($0) }))
          let data = try file.region(tensor["data"])
          guard !packed.codes.isEmpty else {
            #expect(tensor["scales"] == nil && tensor["group_size"] == .number(0) && data == packed.bytes)
            #expect(tensor["encoding"] == .text(name.hasSuffix("expert_bias") ? "f32" : "bf16"))
            continue
          }
          let isInt4 = encoding.hasPrefix("int4")
          #expect(tensor["encoding"] == .text(isInt4 ? "i4_sym" : "i8_sym"))
          #expect(tensor["group_size"] == .number(packed.groupSize))
          let codes: [Int32] =
            isInt4
            ? data.flatMap { [Int32(Int8(bitPattern: $0 << 4) >> 4), Int32(Int8(bitPattern: $0) >> 4)] }
            : data.map { Int32(Int8(bitPattern: $0)) }
          let scales = halves(try file.region(tensor["scales"])).map { Float(Float16(bitPattern: $0)) }
          #expect(scales.allSatisfy { $0 > 0 && $0.isFinite })
          negative += packed.scales.count { $0 < 0 }
          let values = codes.enumerated().map { Float($1) * scales[$0 / packed.groupSize] }
          #expect(values == packed.values, "\(name)")
        }
        #expect(tensors.isEmpty && (negative > 0) == encoding.hasPrefix("int8"))
      }
    }
  }

  @Test("what it cannot hold is refused by name, before anything is written")
  func refusals() throws {
    func refused(
      _ checkpoint: String, _ encoding: String, solver: any GroupwiseSolver = Solvers.searchPositive
    ) throws -> ExportRefusal? {
      try withPack(of: checkpoint, recipe(encoding), solver: solver) { pack, directory in
        let found = try refusal { () throws(ExportError) in
          try export(pack, to: MinnowFormat.self, directory + "/out.mnw")
        }
        if found != nil { #expect(listing(of: directory) == ["model.ingot"]) }
        return found
      }
    }
    #expect(try refused(picoPath, "int4-g64") == .noBlockRouting)
    try withBlockRouting { checkpoint in
      for encoding in ["int4-g64", "int4-g16s8"] {
        guard case .values(let tensor, .negativeScale)? = try refused(checkpoint, encoding, solver: Solvers.search)
        else {
          Issue.record("\(encoding): a code -8 under a negative scale was taken")
          continue
        }
        #expect(tensor.hasPrefix("model.layers.1.mlp.experts.0."))
        #expect(try refused(checkpoint, encoding, solver: Solvers.absmax) == nil)
        #expect(try refused(checkpoint, encoding) == nil)
      }
      #expect(try refused(checkpoint, "keep") == nil)
    }
    try withTemporaryDirectory { directory in
      try UniLayout().write("pico", to: directory + "/uni")
      #expect(try refused(directory + "/uni", "int8-g64") == .family(profile: nil))
    }
    try withBlockRouting { checkpoint in
      guard unsafe unlink(checkpoint + "/tokenizer_config.json") == 0 else { throw TestFailure("cannot remove a link") }
      #expect(try refused(checkpoint, "int8-g64") == .missingFile("chat_template.jinja"))
      try write(Array("{{ messages }}".utf8), to: checkpoint + "/chat_template.jinja")
      #expect(try refused(checkpoint, "int8-g64") == nil)
      guard unsafe unlink(checkpoint + "/tokenizer.json") == 0 else { throw TestFailure("cannot remove a link") }
      #expect(try refused(checkpoint, "int8-g64") == .missingFile("tokenizer.json"))
    }
  }
}

/// A container, all rules of which are checked where it is opened.
struct MinnowReader {
  indirect enum Value: Equatable {
    case number(Int)
    case text(String)
    case list([Value])
    case map([String: Value])

    var map: [String: Value]? { if case .map(let map) = self { map } else { nil } }
    var number: Int? { if case .number(let number) = self { number } else { nil } }
  }

  let bytes: [UInt8]
  private(set) var manifest: [String: Value] = [:]
  private var position = 0

  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    func number(_ at: Int) -> Int { (0..<8).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
    let (offset, length) = (number(8), number(16))
    guard Array(bytes[..<8]) == Array("MINNOW01".utf8), number(24) == bytes.count, offset % 4096 == 0,
      offset + length == bytes.count, BLAKE3.hash(bytes.rawBytes.extracting(offset...)).bytes == Array(bytes[32..<64])
    else { throw TestFailure("the header") }
    position = offset
    guard let map = try value().map, position == bytes.count else { throw TestFailure("the manifest") }
    manifest = map
  }

  /// The bytes of a region, which has its digest, and begins a page.
  func region(_ value: Value?) throws -> [UInt8] {
    guard let map = value?.map, let offset = map["offset"]?.number, let count = map["bytes"]?.number, offset % 4096 == 0
    else { throw TestFailure("a region") }
    let digest = BLAKE3.hash(bytes.rawBytes.extracting(offset..<offset + count)).text
    guard map["blake3"] == .text(digest) else { throw TestFailure("a digest") }
    return Array(bytes[offset..<offset + count])
  }

  private mutating func integer(_ count: Int) -> Int {
    defer { position += count }
    return (0..<count).reduce(0) { $0 << 8 | Int(bytes[position + $1]) }
  }

  private mutating func text(_ count: Int) -> Value {
    defer { position += count }
    return .text(String(decoding: bytes[position..<position + count], as: UTF8.self))
  }

  private mutating func list(_ count: Int) throws -> Value { .list(try (0..<count).map { _ in try value() }) }

  private mutating func map(_ count: Int) throws -> Value {
    var map: [String: Value] = [:]
    for _ in 0..<count {
      guard case .text(let key) = try value(), map[key] == nil else { throw TestFailure("a key") }
      map[key] = try value()
    }
    return .map(map)
  }

  private mutating func value() throws -> Value {
    let head = integer(1)
    switch head {
    case ..<0x80: return .number(head)
    case ..<0x90: return try map(head - 0x80)
    case ..<0xA0: return try list(head - 0x90)
    case ..<0xC0: return text(head - 0xA0)
    case 0xCC: return .number(integer(1))
    case 0xCD: return .number(integer(2))
    case 0xCE: return .number(integer(4))
    case 0xCF: return .number(integer(8))
    case 0xD9: return text(integer(1))
    case 0xDA: return text(integer(2))
    case 0xDB: return text(integer(4))
    case 0xDC: return try list(integer(2))
    case 0xDE: return try map(integer(2))
    default: throw TestFailure("a value that begins with \(head)")
    }
  }
}
