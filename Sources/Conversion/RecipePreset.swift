package import Pack

/// A recipe with a name, for a purpose (`Formats/recipe.md`, "Presets").
package struct RecipePreset: Sendable {
  package let name: String
  package let recipe: Recipe
  package let compression: Compression
  /// What it is for, in a few words.
  package let purpose: String

  private init(
    _ name: String, experts: String, rest: String, compression: Compression = .none, purpose: String
  ) {
    guard let experts = Recipe.Choice(name: experts), let rest = Recipe.Choice(name: rest) else {
      preconditionFailure("no encoding in \(name)")
    }
    self.name = name
    recipe = Recipe(experts: experts, rest: rest)
    self.compression = compression
    self.purpose = purpose
  }

  package static let all: [RecipePreset] = [
    RecipePreset(
      "run", experts: "int4-g64", rest: "int8-g64",
      purpose: "for ingot run, where a token reads three fifths of the bytes"),
    RecipePreset(
      "serve", experts: "int4-g32", rest: "keep", purpose: "for engines: what every export but minnow holds"),
    RecipePreset(
      "archive", experts: "int8-g64", rest: "keep", compression: .zstd,
      purpose: "close to the source at half its size, with zstd"
    ),
  ]

  /// Nil where there is none of the name.
  package init?(name: String) {
    guard let preset = Self.all.first(where: { $0.name == name }) else { return nil }
    self = preset
  }
}
