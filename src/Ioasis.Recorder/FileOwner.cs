using System.Globalization;
using Ioasis.Linux;

namespace Ioasis.Recorder;

/// <summary>Whose a file is that root makes for a user.</summary>
internal static class FileOwner
{
    /// <summary>Gives a file to the user who called sudo, if one did; whether that works does not matter.</summary>
    public static void GiveToUserOfSudo(string path)
    {
        if (Environment.IsPrivilegedProcess && Number("SUDO_UID") is { } user && Number("SUDO_GID") is { } group)
        {
            _ = LibC.ChangeOwner(path, user, group);
        }
    }

    private static uint? Number(string variable) =>
        uint.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out uint number) ? number : null;
}
