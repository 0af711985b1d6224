# The packages of builds.nix, which lies beside it as default.nix, as a flake without inputs.
{
  outputs = { self }: let
    system = "x86_64-linux";
    all = import ./default.nix { inherit system; };
  in {
    packages.${system} = { inherit (all) greeting fails; };
    legacyPackages.${system} = all;
  };
}
