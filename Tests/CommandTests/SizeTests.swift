import JSON
import Pack
import TestSupport
import Testing

/// Files from strangers that ask for much more than they are.
@Suite struct SizeTests {
  /// Runs in a process that may take no more than this of memory; the program and its libraries are in it.
  private func limited(_ arguments: [String], megabytes: Int = 900, in directory: String) throws -> Command.Result {
    try ingot(arguments, in: directory, before: "ulimit -v \(megabytes * 1024)")
  }

  /// Text that makes a tree of many times its bytes.
  private func nested(megabytes: Int) -> [UInt8] {
    let unit = Array("[0],".utf8)
    var text = Array(#"{"x":["#.utf8)
    text.reserveCapacity(megabytes << 20 + 16)
    for _ in 0..<megabytes << 18 { text += unit }
    return text + Array("0]}".utf8)
  }

  @Test("small files of a checkpoint are refused by size or by count, with both numbers")
  func smallFiles() throws {
    try Trained.withVariant(of: "pico", files: ["config.json": nested(megabytes: 20)]) { directory in
      for command in [["run", directory, "-p", "hi"], ["quantize", directory, "-o", "x.ingot"]] {
        let result = try limited(command, in: directory)
        #expect(result.code != 0 && result.code < 100 && result.err.contains("the limit is 16"), "\(result)")
      }
    }
    try Trained.withVariant(of: "pico", files: ["config.json": nested(megabytes: 4)]) { directory in
      let result = try limited(["run", directory, "-p", "hi"], in: directory)
      #expect(result.code != 0 && result.err.contains("there are more than 262,144 values"), "\(result)")
    }
    for name in ["tokenizer.json", "model.safetensors.index.json"] {
      try Trained.withVariant(of: "pico", files: [name: nested(megabytes: 30)]) { directory in
        let result = try limited(["run", directory, "-p", "hi"], in: directory)
        #expect(result.code != 0 && result.err.contains("there are more than 4,194,304 values"), "\(result)")
      }
    }
  }

  @Test("token ids end where the positions of the model end, however long the file is")
  func tokens() throws {
    try withTemporaryDirectory { directory in
      for (name, text) in [("plain", "1 "), ("array", "1,")] {
        let ids = Array(repeating: Array(text.utf8), count: 8 << 20).flatMap(\.self)
        try write((name == "array" ? [UInt8(ascii: "[")] : []) + ids, to: directory + "/" + name)
        let result = try limited(["run", pico, "--tokens", name], in: directory)
        #expect(result.code == 1 && result.err.contains("more than 4,096 tokens"), "\(result)")
      }
      try write(Array("[1, 2, [3], 4]".utf8), to: directory + "/wrong")
      let result = try ingot(["run", pico, "--tokens", "wrong"], in: directory)
      #expect(result.err.contains("an array that is no integer") && result.err.contains("byte 7"), "\(result)")
    }
  }

  @Test("a file in a pack that says it is a gigabyte is refused before it is unpacked")
  func embedded() throws {
    try withTemporaryDirectory { directory in
      let packed = try ingot(["quantize", pico, "-o", "p.ingot", "-q", "--compress", "zstd"], in: directory)
      #expect(packed.code == 0)
      var pack = PackBytes(try contents(of: directory + "/p.ingot"))
      // The tokenizer, which is compressed.
      let isCompressedFile = { (index: Int) in
        Array(pack.bytes[pack.chunkRecord(index) + 52..<pack.chunkRecord(index) + 54]) == [2, 1]
      }
      let found = (0..<pack.chunkCount).first(where: isCompressedFile)
      let chunk = try #require(found)
      pack.set(UInt64(1 << 30), at: pack.chunkRecord(chunk) + 16)
      pack.set(UInt64(1 << 30), at: pack.chunkRecord(chunk) + 24)
      pack.seal()
      try write(pack.bytes, to: directory + "/bomb.ingot")
      for command in [
        ["inspect", "bomb.ingot"], ["inspect", "bomb.ingot", "--check"], ["run", "bomb.ingot", "-p", "hi"],
      ] {
        let result = try limited(command, in: directory)
        let said = result.out + result.err
        #expect(result.code == 4 && said.contains("1073741824 bytes, the limit is"), "\(command): \(result)")
      }
    }
  }

  @Test("JSON of many tensors is printed as it is made")
  func manyTensors() throws {
    try withTemporaryDirectory { directory in
      var header = "{"
      for index in 0..<60_000 {
        header +=
          (index > 0 ? "," : "") + #""t\#(index)":{"dtype":"U8","shape":[1],"data_offsets":[\#(index),\#(index + 1)]}"#
      }
      header += "}"
      let length = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
      try write(length + Array(header.utf8) + [UInt8](repeating: 0, count: 60_000), to: directory + "/m.safetensors")
      let result = try limited(["inspect", "m.safetensors", "--json"], megabytes: 140, in: directory)
      #expect(result.code == 0, "\(result.err)")
      #expect(try object(result)["tensors"]?.array?.count == 60_000)
    }
  }
}
