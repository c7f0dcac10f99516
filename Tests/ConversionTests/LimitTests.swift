import Conversion
import JSON
import Kernels
import Pack
import Quantization
import Storage
import TestSupport
import Testing

@Suite struct LimitTests {
  @Test("an interruption leaves nothing, whenever it comes", arguments: [0, 1, 5, 20], [1, 2, 7])
  func interruption(chunks: Int, threads: Int) throws {
    let error = try refusal(
      TinyCheckpoint(), ConversionPlan.Options(experts: "int4-g32"), Run(threads: threads, stopAfter: chunks))
    guard case .interrupted = error else { return #expect(Bool(false), "\(error)") }
  }

  @Test func anInterruptedDryRunStops() throws {
    try withTemporaryDirectory { directory in
      try TinyCheckpoint().write(to: directory)
      let plan = try ConversionPlan(checkpoint: directory, options: ConversionPlan.Options(compress: .zstd))
      let converter = try Converter(plan, kernels: .best, threads: 3, memoryLimit: 1 << 30)
      do throws(ConversionError) {
        _ = try converter.measure(progress: { _ in }, isInterrupted: { true })
        #expect(Bool(false), "went on")
      } catch {
        guard case .interrupted = error else { return #expect(Bool(false), "\(error)") }
      }
    }
  }

  @Test("too little memory is said before anything is written", arguments: Compression.allCases)
  func memory(compression: Compression) throws {
    let options = try ConversionPlan.Options(compress: compression)
    let error = try refusal(TinyCheckpoint(), options, Run(threads: 4, memoryLimit: 1 << 20))
    guard case .memory(let needed, let limit) = error else { return #expect(Bool(false), "\(error)") }
    #expect(limit == 1 << 20 && needed > limit)
    // What it asks for is enough.
    _ = try packed(TinyCheckpoint(), options, Run(threads: 4, memoryLimit: needed))
    let below = try refusal(TinyCheckpoint(), options, Run(threads: 4, memoryLimit: needed - 1))
    guard case .memory = below else { return #expect(Bool(false), "\(below)") }
  }

  @Test func progressEndsAtAllBytes() throws {
    try withTemporaryDirectory { directory in
      try TinyCheckpoint().write(to: directory)
      let plan = try ConversionPlan(checkpoint: directory, options: ConversionPlan.Options(experts: "int4-g32"))
      let converter = try Converter(plan, kernels: .best, threads: 3, memoryLimit: 1 << 30)
      var seen: [Int] = []
      _ = try converter.write(to: directory + "/out.ingot", progress: { seen.append($0) }, isInterrupted: { false })
      #expect(seen.count == plan.pack.chunks.count && seen == seen.sorted())
      #expect(seen.last == plan.sourceByteCount)
      #expect(plan.sourceByteCount == TinyCheckpoint().published.reduce(0) { $0 + $1.bytes.count })
    }
  }

  @Test func smallFilesAreEmbeddedByteForByteAndEmptyOnesAreNot() throws {
    var tiny = TinyCheckpoint()
    tiny.files.append((name: "merges.txt", bytes: []))
    tiny.files.append((name: "generation_config.json", bytes: Array("{ }\r\n".utf8)))
    tiny.files.append((name: "pytorch_model.bin.index.json", bytes: [1]))
    for compression in Compression.allCases {
      try withTemporaryDirectory { directory in
        try tiny.write(to: directory)
        try convert(directory, ConversionPlan.Options(compress: compression))
        let pack = try PackFile(path: directory + "/out.ingot")
        let names = try pack.files.map(\.name)
        #expect(
          names == [
            "provenance.json", "source/chat_template.jinja", "source/config.json", "source/generation_config.json",
            "source/tokenizer.json", "source/tokenizer_config.json",
          ])
        for name in names where name.hasPrefix("source/") {
          let embedded = try pack.file(named: name)
          #expect(try embedded == contents(of: "\(directory)/\(name.dropFirst(7))"))
        }
      }
    }
  }

  @Test func theProvenanceSaysWhatWasConvertedAndNothingOfTheMachine() throws {
    var tiny = TinyCheckpoint()
    (tiny.layout, tiny.shards) = (.fused, .fromOne)
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let rules = [Recipe.Rule(match: "lm_head", choice: .keep, isOptional: true)]
      try convert(
        directory, ConversionPlan.Options(rest: "int8-g32", rules, solver: Solvers.absmax, compress: .zstd),
        Run(threads: 3))
      let pack = try PackFile(path: directory + "/out.ingot")
      let text = String(decoding: try pack.file(named: "provenance.json"), as: UTF8.self)
      #expect(!text.contains(directory) && !text.contains("/"))
      let object = try #require(try JSONParser.parse(text).object)
      #expect(
        object.members.map(\.key) == ["schema", "tool", "architecture", "layout", "options", "recipe", "sources"])
      #expect(object["schema"] == 1 && object["tool"] == "ingot test" && object["architecture"] == "llada2_moe")
      #expect(object["layout"] == "fused" && object["options"] == ["solver": "absmax", "compress": "zstd"])
      let recipe = try Recipe(json: Array((object["recipe"] ?? .null).text().utf8))
      #expect(recipe.overrides == rules && recipe.rest.description == "int8-g32")
      for (index, source) in (object["sources"]?.array ?? []).enumerated() {
        let name = "model-0000\(index + 1)-of-00003.safetensors"
        let file = PackBytes(try contents(of: "\(directory)/\(name)"))
        let hash = file.hash(0..<8 + file.integer(at: 0, as: Int.self))
        #expect(source.object?["name"] == .string(name) && source.object?["bytes"] == JSONValue(file.bytes.count))
        #expect(source.object?["header_xxh3"] == .string(XXH3.text(hash)))
      }
    }
  }
}
