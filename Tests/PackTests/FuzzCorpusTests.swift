import Glibc
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// The packs that `Tools/Fuzz/Pack.swift` starts from: small enough for a fuzzer, with every kind of chunk and codec.
@Suite(.serialized) struct FuzzCorpusTests {
  private static let directory =
    #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/Tools/Fuzz/corpus/Pack"

  private func plan() throws -> PackPlan {
    let int4 = TinyPack.encoding("int4-g32")
    return try PackPlan(
      [
        TinyPack.expert(0, hidden: 32, width: 32, [int4, TinyPack.encoding("int8-g32"), .bf16]),
        .tensor(TinyPack.tensor("a", [40, 2], .bf16)), .tensor(TinyPack.tensor("b", [3, 32], int4)),
        .tensor(TinyPack.tensor("c", [5], .f32)),
      ], files: TinyPack.files, rowChunkByteCount: 128)
  }

  /// Codes of 0 under scales of 0, so that even the expert is a short frame.
  private func contents(_ plan: PackPlan) -> [[UInt8]] {
    plan.chunks.map { chunk in
      var content = [UInt8](repeating: 0, count: chunk.layout.byteCount)
      for (position, tensor) in chunk.tensors.enumerated() where plan.tensors[tensor].encoding.codes?.code == .int4 {
        for byte in chunk.layout.planes[position][0] { content[byte] = 0x88 }
      }
      return content
    }
  }

  @Test(.enabled(if: unsafe getenv("WRITE_GOLDEN") != nil))
  func writeThemOnce() throws {
    let plan = try plan()
    try withTemporaryDirectory { directory in
      try TinyPack.write(plan, contents(plan), to: directory + "/a", .zstd)
      let zstd = try TestSupport.contents(of: directory + "/a")
      let rows = try PackPlan(
        [.tensor(TinyPack.tensor("a", [40, 2], .bf16)), .tensor(TinyPack.tensor("b", [3, 32], .f16))],
        files: TinyPack.files, rowChunkByteCount: 128)
      try TinyPack.write(rows, TinyPack.contents(rows, seed: 1), to: directory + "/b")
      let raw = try TestSupport.contents(of: directory + "/b")
      // 15: the fuzzer's entry makes hashes and lengths right again.
      for (name, bytes) in [("zstd", zstd), ("raw", raw)] { try write([15] + bytes, to: "\(Self.directory)/\(name)") }
    }
  }

  @Test("the packs that fuzzing starts from are whole", arguments: ["raw", "zstd"])
  func corpus(name: String) throws {
    let bytes = try TestSupport.contents(of: "\(Self.directory)/\(name)")
    try withTemporaryDirectory { directory in
      let found = try violations(Array(bytes.dropFirst()), in: directory)
      #expect(found == [] && bytes.count < 8192)
    }
  }
}
