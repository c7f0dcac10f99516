import Conversion
import Glibc
import JSON
import Kernels
import Pack
import Quantization
import Storage
import TestSupport
import Testing

/// The packs of `Formats/golden/pack-v1`, frozen: every later version of the reader reads them, and the writer writes the
/// raw one again from its checkpoint. `WRITE_GOLDEN=1` made them once.
@Suite(.serialized) struct GoldenTests {
  private static let directory =
    #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/Formats/golden/pack-v1"

  private static var checkpoint: TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.seed, tiny.layout, tiny.shards) = (2026, .fused, .fromZero)
    (tiny.hidden, tiny.denseWidth, tiny.vocabulary, tiny.experts) = (32, 32, 16, 2)
    tiny.configChanges = ["n_group": 1]
    return tiny
  }

  private static func options(_ compression: Compression) throws -> ConversionPlan.Options {
    let rules = try [
      #"attention\.dense=int8-g32"#, #"experts\.1\.up_proj=int8-g32"#, #"experts\.1\.down_proj=keep"#,
      "embeddings|lm_head=keep",
    ].map(Recipe.rule(parsing:))
    var options = try ConversionPlan.Options(rest: "int4-g32", rules, compress: compression)
    options.tool = "ingot golden"
    return options
  }

  @Test(.enabled(if: unsafe getenv("WRITE_GOLDEN") != nil))
  func writeThemOnce() throws {
    try Self.checkpoint.write(to: Self.directory + "/checkpoint")
    for compression in Compression.allCases {
      let plan = try ConversionPlan(
        checkpoint: Self.directory + "/checkpoint", options: Self.options(compression))
      let converter = try Converter(plan, kernels: .best, threads: 1, memoryLimit: 1 << 30)
      let path = "\(Self.directory)/\(compression == .none ? "raw" : "zstd").ingot"
      _ = try converter.write(to: path, progress: { _ in }, isInterrupted: { false })
    }
  }

  private func listing(_ name: String) throws -> JSONObject {
    let text = String(decoding: try contents(of: "\(Self.directory)/\(name).json"), as: UTF8.self)
    return try #require(try JSONParser.parse(text).object)
  }

  @Test("a pack of version 1 breaks no rule and lists as it always did", arguments: ["raw", "zstd"])
  func listings(name: String) throws {
    let path = "\(Self.directory)/\(name).ingot"
    let found = try PackCheck(path: path).run(threads: 2).violations
    #expect(found == [])
    let pack = try PackFile(path: path)
    try pack.verifyTables()
    try GoldenListing(try listing(name)).compare(with: pack)
  }

  @Test func theZstdPackHoldsTheSameNumbersAsTheRawOne() throws {
    let (raw, zstd) = (
      try PackFile(path: Self.directory + "/raw.ingot"), try PackFile(path: Self.directory + "/zstd.ingot")
    )
    #expect(zstd.header.requiredFeatures == 1 && raw.header.tensorCount == zstd.header.tensorCount)
    let codec = ChunkCodec()
    for index in 0..<raw.header.tensorCount {
      let (a, b) = (try raw.tensor(index), try zstd.tensor(index))
      #expect(a == b)
      let (x, y) = (
        try raw.content(ofChunk: a.firstChunk, codec: codec, verified: true),
        try zstd.content(ofChunk: b.firstChunk, codec: codec, verified: true)
      )
      let (xBytes, yBytes) = (x.bytes, y.bytes)
      #expect(xBytes.array == yBytes.array)
    }
  }

  @Test("the raw pack is written again bit for bit from its checkpoint", arguments: KernelSet.available.map(\.name))
  func writtenAgain(kernels: String) throws {
    let plan = try ConversionPlan(checkpoint: Self.directory + "/checkpoint", options: Self.options(.none))
    let set = try #require(KernelSet(name: kernels))
    let converter = try Converter(plan, kernels: set, threads: 3, memoryLimit: 1 << 30)
    try withTemporaryDirectory { directory in
      _ = try converter.write(to: directory + "/again.ingot", progress: { _ in }, isInterrupted: { false })
      let again = try contents(of: directory + "/again.ingot")
      #expect(try again == contents(of: Self.directory + "/raw.ingot"))
    }
  }

  @Test func theCheckpointOfTheTestsIsStillThatOfTheGoldenPack() throws {
    try withTemporaryDirectory { directory in
      try Self.checkpoint.write(to: directory)
      for name in TestSupport.listing(of: directory) {
        #expect(
          try contents(of: "\(directory)/\(name)") == contents(of: "\(Self.directory)/checkpoint/\(name)"), "\(name)")
      }
    }
  }
}
