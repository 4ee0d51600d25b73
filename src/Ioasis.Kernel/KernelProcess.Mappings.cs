using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>What the process has mapped of files.</content>
internal sealed partial class KernelProcess
{
    private const ulong PageMask = AddressSpace.PageSize - 1;

    private readonly IoLock _mappingsLock = new();
    private readonly List<Mapping> _mappings = [];
    private int _deviceMappings;

    /// <inheritdoc/>
    public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
    {
        address = 0;
        if (length == 0 || (offset & PageMask) != 0 || offset > long.MaxValue)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (length > (nuint)nint.MaxValue)
        {
            return -(int)Errno.OutOfMemory;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        ulong rounded = ((ulong)length + PageMask) & ~PageMask;
        Errno error = Injection.Hit(InjectionKind.Allocate);
        error = error == Errno.Success ? file!.Map(offset, rounded, protection, out address) : Errno.OutOfMemory;
        if (error != Errno.Success)
        {
            file!.Dereference();
            return -(int)error;
        }

        // The reference of the look-up becomes the mapping's.
        using (_mappingsLock.Acquire())
        {
            _mappings.Add(new(address, rounded, file!));
            _deviceMappings += file is VfioOpenDevice ? 1 : 0;
        }

        return 0;
    }

    /// <inheritdoc/>
    public int Unmap(nint address, nuint length)
    {
        ulong rounded = ((ulong)length + PageMask) & ~PageMask;
        OpenFile file;
        using (_mappingsLock.Acquire())
        {
            int index = _mappings.FindIndex(entry => entry.Address == address && entry.Length == rounded);
            if (index < 0)
            {
                return -(int)Errno.InvalidArgument;
            }

            file = _mappings[index].File;
            _deviceMappings -= file is VfioOpenDevice ? 1 : 0;
            _mappings.RemoveAt(index);
        }

        file.Dereference();
        return 0;
    }

    /// <summary>Bytes from an address on, up to a length, before the first that is a device's.</summary>
    internal ulong CountPinnable(ulong address, ulong length)
    {
        if (Volatile.Read(ref _deviceMappings) == 0)
        {
            return length;
        }

        using (_mappingsLock.Acquire())
        {
            foreach (Mapping mapping in _mappings)
            {
                ulong start = (ulong)mapping.Address;
                if (mapping.File is VfioOpenDevice && start < address + length && address < start + mapping.Length)
                {
                    length = start > address ? start - address : 0;
                }
            }

            return length;
        }
    }

    private void UnmapAll()
    {
        List<Mapping> mappings;
        using (_mappingsLock.Acquire())
        {
            mappings = [.. _mappings];
            _mappings.Clear();
            _deviceMappings = 0;
        }

        foreach (Mapping mapping in mappings)
        {
            mapping.File.Dereference();
        }
    }

    private readonly record struct Mapping(nint Address, ulong Length, OpenFile File);
}
