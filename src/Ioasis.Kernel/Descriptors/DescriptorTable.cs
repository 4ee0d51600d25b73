using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// The descriptors of one user process: the lowest free number, as POSIX wants it. Look-ups take no lock. A
/// call that holds a file keeps it alive whatever happens to the descriptor meanwhile.
/// </summary>
internal sealed class DescriptorTable
{
    // 0 to 2 belong to standard input and output of any process.
    private const int First = 3;

    private readonly IoLock _lock = new();
    private readonly int _limit;
    private OpenFile?[] _files = new OpenFile?[16];
    private int _hint = First;
    private bool _isClosed;

    public DescriptorTable(int limit) => _limit = limit;

    /// <summary>Descriptors in use.</summary>
    public int Count
    {
        get
        {
            using (_lock.Acquire())
            {
                return _files.Count(static file => file is not null);
            }
        }
    }

    /// <summary>Gives a file a descriptor, which takes over the caller's reference.</summary>
    /// <returns>Success, or <see cref="Errno.TooManyOpenFiles"/>: then the reference is still the caller's.</returns>
    public Errno Add(OpenFile file, out int descriptor)
    {
        descriptor = -1;
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            if (_isClosed)
            {
                return Errno.TooManyOpenFiles;
            }

            int index = _hint;
            while (index < _files.Length && _files[index] is not null)
            {
                index++;
            }

            if (index >= _limit)
            {
                return Errno.TooManyOpenFiles;
            }

            if (index == _files.Length)
            {
                OpenFile?[] larger = new OpenFile?[_files.Length * 2];
                _files.CopyTo(larger);
                Volatile.Write(ref _files, larger);
            }

            file.OnDescriptorAdded();
            Volatile.Write(ref _files[index], file);
            _hint = index + 1;
            descriptor = index;
            return Errno.Success;
        }
    }

    /// <summary>Finds a file and takes a reference for the call.</summary>
    public bool TryGet(int descriptor, out OpenFile? file)
    {
        OpenFile?[] files = Volatile.Read(ref _files);
        file = (uint)descriptor < (uint)files.Length ? Volatile.Read(ref files[descriptor]) : null;
        if (file is null || !file.TryReference())
        {
            file = null;
            return false;
        }

        return true;
    }

    /// <summary>Uses a file in the caller's scope.</summary>
    public FileUse Use(int descriptor)
    {
        _ = TryGet(descriptor, out OpenFile? file);
        return new(file);
    }

    /// <summary>Frees a descriptor.</summary>
    /// <returns>The file with the descriptor's reference, which the caller drops; null if there is none.</returns>
    public OpenFile? Remove(int descriptor)
    {
        using (_lock.Acquire())
        {
            if ((uint)descriptor >= (uint)_files.Length || _files[descriptor] is not { } file)
            {
                return null;
            }

            Volatile.Write(ref _files[descriptor], null);
            file.OnDescriptorRemoved();
            _hint = Math.Min(_hint, descriptor);
            return file;
        }
    }

    /// <summary>Frees every descriptor.</summary>
    /// <param name="forGood">Whether there shall never be another: the process has died.</param>
    public List<OpenFile> RemoveAll(bool forGood)
    {
        using (_lock.Acquire())
        {
            _isClosed = forGood;
            List<OpenFile> files = [.. _files.OfType<OpenFile>()];
            foreach (OpenFile file in files)
            {
                file.OnDescriptorRemoved();
            }

            Array.Clear(_files);
            _hint = First;
            return files;
        }
    }
}
