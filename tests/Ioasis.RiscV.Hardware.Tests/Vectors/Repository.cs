using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Vectors;

/// <summary>Where the vectors are.</summary>
internal static class Repository
{
    /// <summary>The root of the repository.</summary>
    public static string Root => ExternalProgram.RepositoryRoot;

    /// <summary>The part of the vectors that is in the repository.</summary>
    public static string CommittedVectors => Path.Combine(Root, "tests", "Ioasis.RiscV.Hardware.Tests", "vectors");

    /// <summary>The full sets, if they are wanted and present.</summary>
    public static string? FullVectors
    {
        get
        {
            if (Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") != "1")
            {
                return null;
            }

            string folder = Environment.GetEnvironmentVariable("IOASIS_VECTORS") ?? Path.Combine(Root, "..", "shared", "vectors");
            return Directory.Exists(folder) ? folder : null;
        }
    }
}
