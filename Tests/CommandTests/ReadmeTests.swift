import Glibc
import TestSupport
import Testing

/// What the README tells to type works as it stands there, on a small model.
@Suite struct ReadmeTests {
  private static let root = pico.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
    separator: "/")

  /// The commands of the section "Use", without comments, with lines that go on joined.
  private static func commands() throws -> [String] {
    let readme = String(decoding: try contents(of: root + "/README.md"), as: UTF8.self)
    let lines = readme.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let section = lines.drop { $0 != "## Use" }.dropFirst().prefix { !$0.hasPrefix("## ") }
    let block = section.drop { $0 != "```" }.dropFirst().prefix { $0 != "```" }
    var commands: [String] = []
    var goesOn = false
    for line in block {
      var text = withoutComment(line)
      let isOpen = text.last == "\\"
      if isOpen { text.removeLast() }
      if goesOn { commands[commands.count - 1] += text } else { commands.append(text) }
      goesOn = isOpen
    }
    return commands
  }

  /// Up to a `#` that stands outside quotes behind a space, and without spaces at the end.
  private static func withoutComment(_ line: String) -> String {
    var isQuoted = false
    var kept = ""
    for character in line {
      if character == "'" { isQuoted.toggle() }
      if character == "#", !isQuoted, kept.last ?? " " == " " { break }
      kept.append(character)
    }
    while kept.last == " " { kept.removeLast() }
    return kept
  }

  /// The files that the commands are given and none of them makes.
  private func makeInputs(in directory: String) throws {
    try linkPico(directory + "/LLaDA2.0-mini")
    let lines = String(decoding: try contents(of: pico + "/eval.jsonl"), as: UTF8.self).split(separator: "\n")
    func join(_ lines: ArraySlice<Substring>) -> [UInt8] { Array(lines.joined(separator: "\n").utf8) }
    try write(join(lines[..<40]), to: directory + "/chats.jsonl")
    try write(join(lines[40..<44]), to: directory + "/questions.jsonl")
    let pair = #"{"prompt": "What is 60 + 23?", "continuation": "60 + 23 = 83"}"#
    try write(Array(pair.utf8), to: directory + "/pairs.jsonl")
    try write(Array(String(repeating: "let a = b + 1\n", count: 100).utf8), to: directory + "/code.txt")
    try write(Array(question.utf8), to: directory + "/question.txt")
    try write(Array("/exit\n".utf8), to: directory + "/typed")
    for (name, encoding) in [("a", "int4-g64"), ("b", "int4-g32")] {
      let made = try ingot(["quantize", pico, "-q", "--experts", encoding, "-o", name + ".ingot"], in: directory)
      #expect(made.code == 0, "\(made)")
    }
  }

  @Test("every example of the README runs, and makes the files that it names")
  func examples() throws {
    try withTemporaryDirectory { directory in
      try makeInputs(in: directory)
      let folder = try Command.ingotPath().split(separator: "/", omittingEmptySubsequences: false).dropLast()
        .joined(separator: "/")
      let commands = try Self.commands()
      #expect(commands.count > 15)
      for command in commands {
        let words = command.split(separator: " ").map(String.init)
        #expect(words.first == "ingot", "\(command)")
        let outputs = zip(words, words.dropFirst()).compactMap { option, value in
          ["-o", "--output", "--record", "--html", "--trace"].contains(option) ? value : nil
        }
        // Several make the same file, as alternatives; a dry run makes none.
        if !words.contains("--dry-run") {
          for name in outputs { unsafe _ = unlink(directory + "/" + name) }
        }
        let result = try Command(
          shell: command, in: directory, before: "PATH='\(folder)':$PATH && exec <typed"
        ).wait()
        // As with diff(1): 1 tells that there are differences.
        #expect(result.code == (words.contains("--diff") ? 1 : 0), "\(command): \(result)")
        #expect(!result.out.isEmpty || !outputs.isEmpty || words.contains("--chat"), "\(command): \(result)")
        for name in outputs { #expect(exists(directory + "/" + name), "\(command): \(result)") }
      }
    }
  }
}
