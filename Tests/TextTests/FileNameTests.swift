import Testing
import Text

@Suite struct FileNameTests {
  @Test(
    "names of any bytes come back as they were",
    arguments: [
      [], Array("modèle".utf8), [0x6D, 0xE8, 0x6C], [0xFF], [0xC3], [0xC3, 0x28], [0xE2, 0x82], [0xF0, 0x9F, 0x98],
      [0xED, 0xA0, 0x80], [0xC0, 0xAF], Array("😀".utf8), Array("\u{10F7E8}".utf8), Array("\u{10F7FF}x".utf8) + [0xE8],
      Array(0x80...0xFF),
    ] as [[UInt8]])
  func roundTrip(bytes: [UInt8]) {
    let name = FileName.decode(bytes)
    #expect(FileName.bytes(of: name) == bytes)
    #expect(FileName.isEscaped(name) == (String(validating: bytes, as: UTF8.self) != name))
  }

  @Test func differentNamesStayDifferent() {
    #expect(FileName.decode([0xE8]) != FileName.decode(Array("\u{10F7E8}".utf8)))
    #expect(FileName.decode(Array("e\u{301}".utf8)).utf8.count == 3)
  }

  @Test func peopleSeeTheByte() {
    let name = FileName.decode([0x6D, 0xE8, 0x6C])
    #expect(Shown.text(name) == #"m\xe8l"# && Shown.fileNames(in: "a \(name)\n") == "a m\\xe8l\n")
    #expect(Shown.fileNames(in: "\u{1B}[1m😀") == "\u{1B}[1m😀")
  }
}
