import Conversion
import Export
import Glibc
import JSON
import Kernels
import Models
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// What is planned, refused and left behind.
@Suite struct PlanTests {
  /// Formats and options that differ in how files are laid out.
  static let ways: [(String, @Sendable (inout ExportOptions) -> Void)] =
    ExportFormats.all.map { ($0.name, { _ in }) }
    + ExportFormats.all.map { ($0.name, { $0.shardByteCount = 300_000 }) }
    + GGUFProfile.all.filter { $0.name != "llada-image" }.map { profile in ("gguf", { $0.profile = profile }) }

  @Test("a plan is exact to the byte, and threads and memory change nothing", arguments: ways.indices)
  func exact(way: Int) throws {
    let (name, change) = Self.ways[way]
    let format = try #require(ExportFormats.named(name))
    try withPackForAll("int4-g64s8", .zstd) { pack, directory in
      let plan = try export(pack, to: format, directory + "/a", threads: 1, change)
      let first = try tree(directory + "/a")
      #expect(first.values.reduce(0) { $0 + $1.count } == plan.byteCount)
      if plan.isDirectory {
        let planned = Dictionary(uniqueKeysWithValues: plan.files.map { ($0.name, $0.byteCount) })
        #expect(first.mapValues(\.count) == planned)
      }
      try makeDirectory(directory + "/b")
      try export(pack, to: format, directory + "/b/a", threads: 5, memoryLimit: 40 << 20, change)
      #expect(try tree(directory + "/b/a") == first)
      #expect(listing(of: directory) == ["a", "b", "model.ingot"] && listing(of: directory + "/b") == ["a"])
    }
  }

  @Test("compression of the pack changes nothing", arguments: ExportFormats.all.map { $0.name })
  func compression(name: String) throws {
    let format = try #require(ExportFormats.named(name))
    func tensors(_ compression: Compression) throws -> [String: [UInt8]] {
      try withPackForAll("int4-g32", compression) { pack, directory in
        try export(pack, to: format, directory + "/out")
        return try tree(directory + "/out").filter { $0.key != ExportPlan.manifestName }
      }
    }
    #expect(try tensors(.none) == tensors(.zstd))
  }

  @Test("what a format cannot hold is refused by name, before anything is written")
  func refusals() throws {
    func refused(
      _ recipe: Recipe, _ format: any ExportFormat.Type, _ change: (inout ExportOptions) -> Void = { _ in }
    ) throws -> ExportRefusal? {
      try withPack(recipe) { pack, directory in
        let found = try refusal { () throws(ExportError) in
          _ = try export(pack, to: format, directory + "/out", change)
        }
        if found != nil { #expect(listing(of: directory) == ["model.ingot"]) }
        return found
      }
    }
    let quantizing = ExportFormats.all.filter { $0.encodings.count < Encoding.grouped.count }
    #expect(quantizing.count == 4)
    for format in quantizing {
      guard case .encoding(_, let encoding, let instead)? = try refused(recipe("int4-g16s8"), format) else {
        Issue.record("\(format.name) takes groups of 16")
        continue
      }
      #expect(encoding.groupSize == 16 && instead.description == "int4-g32s8")
      let mixed = try recipe("int4-g64", (#"layers\.2\..*experts\.3\.up"#, "int8-g64"))
      guard case .mixed(let mix)? = try refused(mixed, format) else {
        Issue.record("\(format.name) takes a layer of two encodings")
        continue
      }
      #expect(mix.other.contains("layers.2.mlp.experts.3.up") && mix.instead.description == "int4-g64")
    }
    for format in [CompressedTensorsFormat.self, GPTQFormat.self] as [any ExportFormat.Type] {
      #expect(try refused(recipe("keep"), format) == .nothingQuantized)
      let rest = try recipe("int4-g64", ("lm_head", "int8-g64"))
      #expect(try refused(rest, format) == .quantized(tensor: "lm_head.weight", TinyPack.encoding("int8-g64")))
      #expect(try refused(recipe("int4-g64"), format) { $0.tensorParallel = 1 } == nil)
      let shared = try refused(recipe("int4-g64"), format) { $0.tensorParallel = 2 }
      #expect(shared == .tensorParallel(devices: 2, width: 64, TinyPack.encoding("int4-g64"), fits: [1]))
    }
    let layers = try recipe("int4-g64", (#"layers\.2\..*\.experts\."#, "int8-g32"))
    #expect(try refused(layers, CompressedTensorsFormat.self) == nil && refused(layers, MLXFormat.self) == nil)
    #expect(try refused(layers, GGUFFormat.self) == nil && refused(layers, GPTQFormat.self) != nil)
    // Blocks are of 32 whatever the groups are.
    #expect(try refused(recipe("int4-g64", (#"experts\.3\.up"#, "int4-g32s8")), GGUFFormat.self) == nil)
    let image = try refused(recipe("int4-g64"), GGUFFormat.self) { $0.profile = GGUFProfile.lladaImage }
    #expect(image == .family(profile: "llada-image"))
  }

  @Test("LLaDA2.0-Uni: its names, its other parts, and what has no place for them")
  func otherFamily() throws {
    try withTemporaryDirectory { directory in
      try UniLayout().write("pico", to: directory + "/uni")
      try withPack(of: directory + "/uni", recipe("int4-g64")) { pack, directory in
        let others = UniLayout().others.map(\.name)
        func refused(_ format: any ExportFormat.Type) throws -> ExportRefusal? {
          try refusal { () throws(ExportError) in try export(pack, to: format, directory + "/out") }
        }
        #expect(try refused(MLXFormat.self) == .family(profile: nil))
        #expect(try refused(GGUFFormat.self) == .otherParts(count: 2, of: LLaDA2Uni.otherParts))
        try export(pack, to: CompressedTensorsFormat.self, directory + "/ct")
        let tensors = try Reader.safetensors(directory + "/ct")
        #expect(others.allSatisfy { tensors[$0] != nil })
        #expect(tensors["model.language_model.layers.1.mlp.experts.0.up_proj.weight_packed"] != nil)
        let quantization = try object(directory + "/ct/config.json")["quantization_config"]?.object
        let group = quantization?["config_groups"]?.object?["group_0"]?.object
        #expect(group?["targets"] == [#"re:.*\.layers\.(1|2|3)\.mlp\.experts\..*"#])
        try export(pack, to: GGUFFormat.self, directory + "/image.gguf") { $0.profile = GGUFProfile.lladaImage }
        let file = try GGUFReader(try contents(of: directory + "/image.gguf"))
        #expect(others.allSatisfy { file.tensors[$0] != nil })
        #expect(file.tensors["model.language_model.layers.2.mlp.experts.down_proj"]?.dimensions == [64, 128, 16])
        #expect(file.lists.isEmpty)
      }
    }
  }

  @Test("layers of several encodings become groups of the configuration, plain ones are ignored")
  func groups() throws {
    let layers = try recipe(
      "int4-g64", (#"layers\.2\..*\.experts\."#, "int8-g32"), (#"layers\.3\..*\.experts\."#, "keep"))
    try withPack(layers) { pack, directory in
      try export(pack, to: CompressedTensorsFormat.self, directory + "/out")
      let config = try object(directory + "/out/config.json")
      let quantization = try #require(config["quantization_config"]?.object)
      let groups = try #require(quantization["config_groups"]?.object)
      #expect(groups.members.map(\.key) == ["group_0", "group_1"])
      #expect(groups["group_1"]?.object?["weights"]?.object?["num_bits"] == 8)
      #expect(groups["group_1"]?.object?["targets"] == [#"re:.*\.layers\.(2)\.mlp\.experts\..*"#])
      #expect(quantization["ignore"]?.array?.last == #"re:.*\.layers\.(3)\.mlp\.experts\..*"#)
    }
  }

  @Test("a directory is replaced only where that was asked for, and whole")
  func replacing() throws {
    try withPack(recipe("int4-g64")) { pack, directory in
      let out = directory + "/out"
      try export(pack, to: MLXFormat.self, out)
      let before = try tree(out)
      do throws(ExportError) {
        try export(pack, to: GPTQFormat.self, out)
        Issue.record("it was replaced")
      } catch {
        guard case .output(let failure) = error else { throw error }
        #expect(failure.code == EEXIST)
      }
      #expect(try tree(out) == before)
      try export(pack, to: GPTQFormat.self, out + "/", replaces: true)
      #expect(listing(of: out).contains("quantize_config.json") && listing(of: directory) == ["model.ingot", "out"])
    }
  }

  @Test("a damaged chunk ends the export, and nothing is left", arguments: ExportFormats.all.map { $0.name })
  func damage(name: String) throws {
    let format = try #require(ExportFormats.named(name))
    try withPackForAll { pack, directory in
      let chunk = try #require(try PackFile(path: pack).chunks().last { $0.kind == .expert })
      var bytes = try contents(of: pack)
      bytes[chunk.byteRange.upperBound - 1] ^= 1
      try write(bytes, to: pack)
      do throws(ExportError) {
        try export(pack, to: format, directory + "/out")
        Issue.record("a damaged chunk was exported")
      } catch {
        guard case .pack(.broken(let violation, _)) = error else { throw error }
        #expect(violation.rule == .storedHash)
      }
      #expect(listing(of: directory) == ["model.ingot"])
    }
  }

  @Test("an interruption leaves nothing")
  func interruption() throws {
    try withPack(recipe("int4-g64")) { pack, directory in
      let source = try ExportSource(path: pack, outputName: "out", options: ExportOptions())
      let exporter = try Exporter(
        ExportPlan(source, as: CompressedTensorsFormat.self), kernels: .best, threads: 2, memoryLimit: 1 << 30)
      do throws(ExportError) {
        var asked = 0
        try exporter.write(to: directory + "/out", replaces: false, progress: { _ in }) {
          asked += 1
          return asked > 5
        }
        Issue.record("it went on")
      } catch {
        guard case .interrupted = error else { throw error }
      }
      #expect(listing(of: directory) == ["model.ingot"])
    }
  }

  @Test("too little memory is told before anything is written")
  func memory() throws {
    try withPack(recipe("int4-g64")) { pack, directory in
      do throws(ExportError) {
        try export(pack, to: GGUFFormat.self, directory + "/out", memoryLimit: 1 << 20)
        Issue.record("a megabyte was enough")
      } catch {
        guard case .memory(_, 1 << 20) = error else { throw error }
      }
    }
  }
}
