namespace Ioasis.RiscV.Hardware.Tests.Vectors;

/// <summary>Where the vectors are.</summary>
internal static class Repository
{
    /// <summary>The root of the repository.</summary>
    public static string Root { get; } = FindRoot();

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

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Ioasis.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests do not run inside the repository.");
    }
}
