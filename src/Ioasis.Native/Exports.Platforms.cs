using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <content>The library and its platforms.</content>
internal static unsafe partial class Exports
{
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_errmsg")]
    private static nint ErrorMessage()
    {
        try
        {
            return LastError.Text();
        }
        catch (Exception)
        {
            return s_noMemory;
        }
    }

    private static readonly nint s_noMemory = Marshal.StringToCoTaskMemUTF8("no memory is left for a message");

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_platform_create")]
    private static int CreatePlatform(nint options, nint platform)
    {
        const string Call = "ioasis_platform_create";
        try
        {
            if (CheckPlace(platform, "platform") is { } missing)
            {
                return LastError.Set(Call, missing);
            }

            PlatformOptions wanted = default;
            if (options != 0 && SizedStructure.Take(options, "options", out wanted) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            if (CheckOptions(wanted) is { } bad)
            {
                return LastError.Set(Call, bad);
            }

            if (MachineMaking.Make(wanted, out NativePlatform? made) is { } impossible)
            {
                return LastError.Set(Call, impossible);
            }

            made!.Handle = HandleTable.Add(made);
            Unsafe.WriteUnaligned((void*)platform, made.Handle);
            return 0;
        }
        catch (PlatformNotSupportedException e)
        {
            return LastError.Set(Call, Errno.NotImplemented, e.Message);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    private static Failure? CheckOptions(in PlatformOptions options)
    {
        string? text = options switch
        {
            { Caching: var caching } when caching >= (uint)MachineMaking.CachingModes => $"options.caching is {caching}: 0 to {MachineMaking.CachingModes - 1} are possible",
            { PinnedLimit: > long.MaxValue } => $"options.pinned_limit is {options.PinnedLimit}: at most 2^63 - 1 is possible",
            { FaultCapacity: > 1 << 24 } => $"options.fault_capacity is {options.FaultCapacity}: at most {1 << 24} is possible",
            { Reserved: not 0 } => $"options.reserved is {options.Reserved}: it must be 0",
            _ => null,
        };
        return text is null ? null : new(Errno.InvalidArgument, text);
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_platform_destroy")]
    private static int DestroyPlatform(nint handle)
    {
        const string Call = "ioasis_platform_destroy";
        try
        {
            if (HandleTable.Find(handle) is not NativePlatform platform)
            {
                return NoPlatform(Call, handle);
            }

            if (platform.IsInside)
            {
                return LastError.Set(Call, Errno.Deadlock, "called by a callback of the platform itself, for which it would wait");
            }

            if (!HandleTable.Remove(handle))
            {
                return NoPlatform(Call, handle);
            }

            platform.End();
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_platform_stats")]
    private static int ReadStats(nint handle, nint stats)
    {
        const string Call = "ioasis_platform_stats";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (SizedStructure.Check<Stats>(stats, "stats", out uint size) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            Stats read = platform.ReadStats();
            return SizedStructure.Give(stats, "stats", size, ref read) is { } bad ? LastError.Set(Call, bad) : 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_platform_poll")]
    private static int PollPlatform(nint handle)
    {
        const string Call = "ioasis_platform_poll";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            platform.Machine.Poll();
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    // Where a handle goes.
    private static Failure? CheckPlace(nint address, string name) =>
        CallerMemory.CountAccessible(address, (nuint)sizeof(nint), writable: true) < (nuint)sizeof(nint)
            ? Failure.BadAddress(name, address)
            : null;
}
