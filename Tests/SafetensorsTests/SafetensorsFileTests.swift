import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct SafetensorsFileTests {
  @Test func aSmallFileIsReadAsItIs() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/small"
      var bytes = fileBytes(smallHeader, data: 12)
      bytes[bytes.count - 1] = 99
      try write(bytes, to: path)
      try checkSmall(try SafetensorsFile(path: path), bytes)
    }
  }

  private func checkSmall(_ file: SafetensorsFile, _ bytes: [UInt8]) throws {
    #expect(file.headerByteCount == 8 + smallHeader.utf8.count)
    #expect(file.header.array == Array(bytes[..<file.headerByteCount]))
    #expect(file.dataByteCount == 12)
    #expect(file.name == "small")
    #expect(file.metadata == ["format": "pt"])
    #expect(file.tensors.map(\.name) == ["a", "b"])
    let b = try #require(file["b"])
    #expect(b.dtype == .bf16 && b.shape == Shape([1, 2]))
    #expect(b.byteRange == bytes.count - 4..<bytes.count)
    #expect(b.headerOffset == 8 + (try #require(position(of: "\"b\"", in: smallHeader))))
    #expect(file.bytes(of: b).array == [0, 0, 0, 99])
    #expect(file["c"] == nil)
  }

  @Test("a file cut short at any byte is refused, and says so")
  func truncation() throws {
    let bytes = fileBytes(smallHeader, data: 12)
    try withTemporaryDirectory { directory in
      for count in 0..<bytes.count {
        try write(Array(bytes[..<count]), to: directory + "/cut")
        let error = #expect(throws: SafetensorsError.self) { _ = try SafetensorsFile(path: directory + "/cut") }
        let rule: SafetensorsRule =
          count < 8 ? .fileTooShort : count < 8 + smallHeader.utf8.count ? .headerOutsideFile : .dataOutsideFile
        #expect(error?.rule == rule, "cut to \(count) bytes")
        #expect(error?.hint?.contains("incomplete") == true)
      }
    }
  }

  @Test func tensorsWithoutElementsAndScalarsAreAllowed() throws {
    let json = "{\(entry("z", "F32", "[0,5]", 4, 4)),\(entry("s", "F32", "[]", 0, 4)),\(entry("y", "I8", "[0]", 0, 0))}"
    let header = try parse(fileBytes(json, data: 4))
    #expect(header.tensors.map(\.name) == ["y", "s", "z"])
    #expect(header["s"]?.shape.elementCount == 1)
    #expect(try parse(fileBytes("{}")).tensors.isEmpty)
  }

  @Test func anEmptyTensorInsideAnotherIsAnOverlap() {
    let json = "{\(entry("a", "I8", "[4]", 0, 4)),\(entry("z", "I8", "[0]", 2, 2))}"
    #expect(refusal(json, data: 4)?.reason == .overlap(with: "a", byteCount: 2))
  }

  private func refusal(_ json: String, data: Int) -> SafetensorsError? {
    do throws(SafetensorsError) {
      _ = try parse(fileBytes(json, data: data))
      return nil
    } catch {
      return error
    }
  }

  @Test(
    "numbers that are no positions are refused",
    arguments: [
      ("[-1]", "[0,4]"), ("[4]", "[-4,0]"), ("[1e1]", "[0,10]"), ("[4]", "[0,4,4]"), ("[4]", "[0]"), ("4", "[0,4]"),
      ("[4]", "4"), ("[\"4\"]", "[0,4]"), ("[99999999999999999999]", "[0,4]"), ("[4]", "[0,99999999999999999999]"),
    ])
  func fieldKinds(shape: String, offsets: String) {
    let json = #"{"a":{"dtype":"I8","shape":\#(shape),"data_offsets":\#(offsets)}}"#
    #expect(refusal(json, data: 4)?.rule == .fieldKind)
  }

  @Test func hugeNumbersOverflowNothing() {
    let max = Int.max
    #expect(refusal("{\(entry("a", "I8", "[\(max)]", 0, max))}", data: 4)?.rule == .dataOutsideFile)
    #expect(refusal("{\(entry("a", "F64", "[\(max)]", 0, max))}", data: 4)?.rule == .shapeOverflow)
    #expect(refusal("{\(entry("a", "I8", "[\(max),\(max)]", 0, 4))}", data: 4)?.rule == .shapeOverflow)
    #expect(refusal("{\(entry("a", "I8", "[0]", max, max))}", data: 4)?.rule == .dataOutsideFile)
  }

  @Test func metadataThatIsNoObjectIsRefused() {
    #expect(refusal(#"{"__metadata__":"pt"}"#, data: 0)?.reason == .metadataNotText(key: nil, found: "a string"))
    #expect(refusal(#"{"__metadata__":{"\u00e9":"","e\u0301":""}}"#, data: 0)?.rule == .ambiguousName)
  }

  @Test(
    "types without values that we read are listed with their bytes",
    arguments: [
      ("F8_E8M0", "[4,1]", 4), ("F4", "[4,32]", 64), ("F4", "[3]", 2), ("F6_E2M3", "[2,4]", 6), ("F6_E3M2", "[5]", 4),
      ("C64", "[2]", 16), ("F8_E4M3FNUZ", "[4]", 4), ("Q3_Future", "[4]", 5), ("Q3_Future", "[]", 0),
    ])
  func otherTypes(dtype: String, shape: String, byteCount: Int) throws {
    let header = try parse(fileBytes("{\(entry("a", dtype, shape, 0, byteCount))}", data: byteCount))
    let tensor = try #require(header.tensors.first)
    #expect(tensor.dtype.name == dtype && tensor.byteRange.count == byteCount)
  }

  @Test(
    "bytes that do not fit a type that shares them are refused", arguments: [("F4", "[4]", 3), ("F6_E2M3", "[4]", 4)])
  func sharedBytes(dtype: String, shape: String, byteCount: Int) {
    #expect(refusal("{\(entry("a", dtype, shape, 0, byteCount))}", data: byteCount)?.rule == .lengthMismatch)
  }

  @Test(
    "what cannot be a type's name is none",
    arguments: ["", "F 8", #"\u001b[2J"#, "Ä8", String(repeating: "F", count: 33)])
  func noType(dtype: String) {
    #expect(refusal("{\(entry("a", dtype, "[4]", 0, 4))}", data: 4)?.rule == .fieldKind)
  }

  @Test func metadataMayBeNull() throws {
    #expect(try parse(fileBytes(#"{"__metadata__":null}"#)).metadata.isEmpty)
  }

  @Test func aPointerOfGitLFSIsRecognised() throws {
    let pointer = Array("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5735111000\n".utf8)
    let error = #expect(throws: SafetensorsError.self) { _ = try parse(pointer) }
    #expect(error?.rule == .headerTooLong)
    #expect(error?.hint?.contains("Git LFS") == true)
  }

  @Test func theHeaderAloneIsEnough() throws {
    let header = try parse(fileBytes(smallHeader), fileByteCount: 8 + smallHeader.utf8.count + 12)
    #expect(header.tensors.count == 2)
  }

  @Test func messagesSayWhatWhereAndHow() throws {
    let error = try #require(refusal("{\(entry("w", "I8", "[1234567]", 0, 1_234_567))}", data: 1000))
    #expect(
      error.description == """
        tensor `w` ends at byte 1,234,640 but the file has 1,073
          in `memory`, header entry at byte 9

        hint: the download is probably incomplete; compare the file's size with the published one, or fetch it again
        """)
    let evil = SafetensorsError(
      .missingField("dtype"), path: "p", tensor: "\u{1B}[2J" + String(repeating: "x", count: 999))
    #expect(!evil.message.unicodeScalars.contains("\u{1B}") && evil.message.count < 300)
  }

  @Test("random changes of the header are refused or harmless, never fatal")
  func mutations() throws {
    let seed: UInt64 = 20_260_101
    var random = SeededRandom(seed: seed)
    let original = fileBytes(smallHeader, data: 12)
    let headerEnd = original.count - 12
    let likely = Array("0123456789{}[]\",: -.eE\\u\u{0}".utf8)
    var accepted = 0
    for _ in 0..<20_000 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let position = Int.random(in: 0..<headerEnd, using: &random)
        bytes[position] =
          Bool.random(using: &random)
          ? likely.randomElement(using: &random)! : UInt8.random(in: 0...255, using: &random)
      }
      guard let header = try? parse(bytes) else { continue }
      accepted += 1
      var end = header.byteCount
      for tensor in header.tensors {
        #expect(tensor.byteRange.lowerBound == end && tensor.byteRange.upperBound <= bytes.count, "seed \(seed)")
        let expected = tensor.dtype.byteCount(elements: tensor.shape.elementCount)
        #expect(tensor.byteRange.count == expected || tensor.dtype.bitCount == nil, "seed \(seed)")
        end = tensor.byteRange.upperBound
      }
      #expect(end == bytes.count, "seed \(seed)")
    }
    #expect(accepted > 100 && accepted < 19_000, "the test sees both sides")
  }
}
