import Export
import Tensors
import Text

// Every sentence a person can see when an export fails.

extension Failure {
  init(exportOfFile path: String) {
    self.init(
      what: "`\(path)` is a file of weights; export takes a pack or the directory of a checkpoint",
      hint: "name the directory that holds config.json", code: .usage)
  }

  init(_ option: String, meansNothingTo pack: String) {
    self.init(
      what: "\(option) is for a checkpoint that is quantized, and `\(pack)` is a pack",
      hint: "leave it out, or name the checkpoint", code: .usage)
  }

  init(directoryIsFile path: String) {
    self.init(what: "`\(path)` is a file, and this export is a directory", hint: "choose another name")
  }

  init(directoryIsForeign path: String) {
    self.init(
      what: "`\(path)` is a directory that `ingot export` did not write",
      hint: "choose another name, or remove it first")
  }

  init(directoryHoldsOther path: String, _ name: String) {
    self.init(
      what: "`\(name)` in `\(path)` was not written by `ingot export`, and would go with the directory",
      hint: "move it away, or choose another name")
  }

  init(directoryHoldsSource path: String, source: String) {
    self.init(what: "`\(source)`, which is to be read, lies in `\(path)`", hint: "choose another name")
  }

  init(_ error: ExportError, output: String) {
    switch error {
    case .model(let error): self.init(error)
    case .pack(let error): self.init(error)
    case .tokenizer(let error): self.init(error, of: "the pack")
    case .output(let error): self.init(error)
    case .refused(let refusal, let format): self.init(refusal, format)
    case .memory(let needed, let limit):
      self.init(
        what: "this export needs \(Format.bytes(needed)) of memory, the limit is \(Format.bytes(limit))",
        hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB", code: .limit)
    case .diskSpace(let needed, let free, let path):
      self.init(
        what: "the export takes \(Format.bytes(needed)), the disk has \(Format.bytes(free)) free", place: "`\(path)`",
        hint: "write to another disk with -o, or free \(Format.bytes(needed - free))", code: .limit)
    case .interrupted:
      self.init(what: "interrupted; `\(output)` was not written and nothing is left of it", code: Interrupt.status)
    }
  }

  private init(_ refusal: ExportRefusal, _ format: String) {
    switch refusal {
    case .encoding(let tensor, let encoding, let instead):
      self.init(
        what: "`\(format)` has nothing for \(encoding), which tensor `\(tensor)` has",
        hint: "quantize the checkpoint with --experts \(instead)"
          + (ExportFormats.named(format)?.servable.map { ", or with --target and --servable \($0)" } ?? "")
          + "; --to safetensors takes every pack")
    case .mixed(let mix):
      self.init(
        what: "`\(format)` wants \(mix.scope) in one encoding, but `\(mix.first)` has \(mix.firstType) and "
          + "`\(mix.other)` has \(mix.otherType)",
        hint: "quantize the checkpoint with --experts \(mix.instead)"
          + (ExportFormats.named(format)?.servable.map { ", or with --target and --servable \($0)" } ?? "")
          + "; --to safetensors takes every pack")
    case .quantized(let tensor, let encoding):
      self.init(
        what: "`\(format)` holds quantized routed experts and nothing else that is quantized, but `\(tensor)` has "
          + "\(encoding)",
        hint: "quantize the checkpoint with --rest keep, or export --to gguf or mlx")
    case .cut(let tensor):
      self.init(
        what: "`\(format)` needs each matrix of an expert in one piece, but `\(tensor)` is cut",
        hint: "pack the checkpoint with `ingot quantize`, which cuts none")
    case .nothingQuantized:
      self.init(
        what: "`\(format)` is for quantized experts, and this pack has none",
        hint: "export it --to safetensors, or quantize the checkpoint with --experts int4-g64")
    case .tensorParallel(let devices, let width, let encoding, let fits):
      let could = fits.map(String.init).joined(separator: ", ")
      self.init(
        what: "\(devices) devices cannot share experts of width \(width) in \(encoding): each would get "
          + "\(width) / \(devices) columns, and needs a multiple of \(max(64, encoding.groupSize))",
        hint: fits.isEmpty
          ? "quantize the checkpoint in smaller groups: --experts \(encoding.codes?.code == .int8 ? "int8" : "int4")-g32"
          : "these numbers of devices would do: \(could)")
    case .dimension(let tensor, let count, let multiple):
      self.init(
        what: "`\(format)` packs \(multiple) rows together, and tensor `\(tensor)` has \(count)",
        hint: "export it --to compressed-tensors, which packs along rows")
    case .family(let profile):
      self.init(
        what: profile.map { "the profile `\($0)` of `\(format)` is for another family of models" }
          ?? "`ingot export --to \(format)` does not know this family of models",
        hint: "`ingot export --list` tells who reads what")
    case .otherParts(let count, let parts):
      self.init(
        what: "`\(format)` has no place for \(Format.count(count)) tensors of \(parts)",
        hint: "leave them out with `ingot quantize --drop`, or export --to compressed-tensors or safetensors")
    case .values(let tensor, .tooLarge(let type)):
      self.init(
        what: "tensor `\(tensor)` has numbers that are infinite in \(type)",
        hint: "choose --dtype bf16 or f32, or leave --dtype out, which keeps what is plain as it is")
    case .values(let tensor, .negativeScale):
      self.init(
        what:
          "`\(format)` has positive scales and no code 8, but tensor `\(tensor)` has a code -8 under a negative scale",
        hint: "quantize the checkpoint with --solver search-positive or absmax, or with --experts int8-g64")
    case .blocks(let tensor, let columns, let length):
      self.init(
        what: "blocks of \(length) do not divide the rows of `\(tensor)`, which have \(columns) elements",
        hint: "choose --dtype bf16, f16 or f32")
    case .noBlockRouting:
      self.init(
        what:
          "`\(format)` is for models that choose experts for blocks of tokens, as LLaDA2.2 does, and config.json has no "
          + "`expert_capacity`",
        hint: "`ingot export --list` tells who reads what")
    case .missingFile(let name):
      self.init(
        what: "`\(format)` holds `\(name)`, and the model came without one that can be read",
        hint: "put it beside the checkpoint, and quantize that again")
    case .manifest(let byteCount, let limit):
      self.init(
        what:
          "the description of the model takes \(Format.bytes(byteCount)), and `\(format)` allows \(Format.bytes(limit))",
        hint: "a smaller tokenizer.json would do")
    case .preTokenizer(let pattern):
      self.init(
        what: "engines that read `\(format)` do not know how this tokenizer cuts text"
          + (pattern.map { ": `\(Shown.text($0))`" } ?? ""),
        hint: "export it --to safetensors or compressed-tensors, which carry tokenizer.json along")
    }
  }
}
